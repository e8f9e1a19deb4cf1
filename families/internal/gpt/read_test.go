package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/families/internal/foreign"
)

// diskBytes is a small disk as the writer lays it out.
func diskBytes(t testing.TB, size int64) []byte {
	t.Helper()
	table, err := New(size, id(0), twoPartitions(size))
	if err != nil {
		t.Fatal(err)
	}
	disk := make([]byte, size)
	copy(disk, table.Head)
	copy(disk[table.TailOffset:], table.Tail)
	return disk
}

func TestRead(t *testing.T) {
	const size = 16 << 20
	disk := diskBytes(t, size)
	got, err := Read(bytes.NewReader(disk), size)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != "10111213-1415-4617-9819-1a1b1c1d1e00" || len(got.Partitions) != 2 {
		t.Fatalf("%+v", got)
	}
	for i, want := range twoPartitions(size) {
		if got.Partitions[i] != want {
			t.Errorf("got %+v, want %+v", got.Partitions[i], want)
		}
	}
}

// TestReadForeign reads what sgdisk has written.
func TestReadForeign(t *testing.T) {
	path := t.TempDir() + "/disk"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8<<20); err != nil {
		t.Fatal(err)
	}
	foreign.Run(t, "gdisk", "sgdisk", "-n", "1:2048:+1M", "-t", "1:ef00", "-c", "1:boot", "-n", "5:6144:0", "-c", "5:rést", path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := Read(f, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Partitions) != 2 || got.Partitions[0].Type != ESP || got.Partitions[0].Sectors != 2048 ||
		got.Partitions[1].Name != "rést" || got.Partitions[1].Start != 6144 {
		t.Errorf("%+v", got)
	}
}

func TestReadRefuses(t *testing.T) {
	const size = 16 << 20
	for name, change := range map[string]func([]byte){
		"a wrong header checksum": func(b []byte) { b[512+40]++ },
		"a wrong entry checksum":  func(b []byte) { b[1024+56]++ },
		"too many entries":        func(b []byte) { b[512+83] = 1 },
		"entries of no size":      func(b []byte) { b[512+84] = 0 },
		"partitions off the disk": func(b []byte) { b[1024+40+5] = 1; seal(b) },
		"partitions of no size":   func(b []byte) { b[1024+32+2] = 0xff; seal(b) },
	} {
		disk := diskBytes(t, size)
		change(disk)
		if got, err := Read(bytes.NewReader(disk), size); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, disk := range [][]byte{nil, make([]byte, 600), make([]byte, 4096)} {
		if _, err := Read(bytes.NewReader(disk), int64(len(disk))); !errors.Is(err, ErrNoTable) {
			t.Errorf("%d zeros: %v", len(disk), err)
		}
	}
	disk := diskBytes(t, size)
	if _, err := Read(bytes.NewReader(disk), size/2); err == nil || !strings.Contains(err.Error(), "of a disk of") {
		t.Errorf("half a disk: %v", err)
	}
}

// failing is a disk with a bad sector: what begins at or crosses it can't be read.
type failing struct {
	disk io.ReaderAt
	bad  int64
}

var errBadSector = errors.New("bad sector")

func (f failing) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > f.bad {
		return 0, errBadSector
	}
	return f.disk.ReadAt(p, at)
}

// A disk that can't be read is not a disk without a table.
func TestReadBadSectors(t *testing.T) {
	const size = 16 << 20
	disk := bytes.NewReader(diskBytes(t, size))
	for _, bad := range []int64{0, SectorSize, 2 * SectorSize, 33 * SectorSize} {
		got, err := Read(failing{disk, bad}, size)
		if err == nil || errors.Is(err, ErrNoTable) || !strings.Contains(err.Error(), errBadSector.Error()) {
			t.Errorf("sector at %d: %+v, %v", bad, got, err)
		}
	}
}

// seal computes both checksums again.
func seal(b []byte) {
	le := binary.LittleEndian
	h := b[512 : 512+92]
	entries := int(le.Uint32(h[80:]) * le.Uint32(h[84:]))
	if entries > len(b)-1024 {
		return
	}
	le.PutUint32(h[88:], crc32.ChecksumIEEE(b[1024:1024+entries]))
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
}

func FuzzRead(f *testing.F) {
	disk := diskBytes(f, 8<<20)
	f.Add(disk[512:1024], disk[1024:1024+1024])
	f.Fuzz(func(t *testing.T, header, entries []byte) {
		const size = 1 << 20
		b := make([]byte, 64<<10)
		copy(b[512:1024], header)
		copy(b[1024:], entries)
		seal(b)
		d, err := Read(bytes.NewReader(b), size)
		if err != nil {
			return
		}
		for _, p := range d.Partitions {
			if p.Start < 0 || p.Sectors <= 0 || (p.Start+p.Sectors)*SectorSize > size {
				t.Errorf("%+v", p)
			}
		}
	})
}
