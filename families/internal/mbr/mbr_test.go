package mbr

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

// TestForeignReaders lets sfdisk and fdisk read tables of small and large disks.
func TestForeignReaders(t *testing.T) {
	for _, c := range []struct {
		size       int64
		partitions []Partition
	}{
		{64 << 20, []Partition{{FAT32, true, 2048, 65536}, {Linux, false, 67584, 63488}}},
		{3 << 40, []Partition{{FAT32, false, 63, 1}, {Linux, false, 1 << 20, 1<<32 - 1<<20}}},
		{1 << 20, nil},
	} {
		sector, err := New(c.size, 0xb007517e, c.partitions)
		if err != nil {
			t.Fatal(err)
		}
		disk := extent.New(c.size)
		disk.AddBytes(0, sector)
		path := foreign.Save(t, disk)
		out := foreign.Run(t, "fdisk", "sfdisk", "--verify", path)
		if !strings.Contains(out, "No errors detected") {
			t.Error(out)
		}
		dump := foreign.Run(t, "fdisk", "sfdisk", "--dump", path)
		want := []string{"label: dos", "label-id: 0xb007517e"}
		for i, p := range c.partitions {
			line := fmt.Sprintf("%s%d : start=%12d, size=%12d, type=%x", path, i+1, p.Start, p.Sectors, p.Type)
			if p.Active {
				line += ", bootable"
			}
			want = append(want, line)
		}
		for _, w := range want {
			if !strings.Contains(dump, w) {
				t.Errorf("sfdisk does not say %q:\n%s", w, dump)
			}
		}
		if out := foreign.Run(t, "fdisk", "fdisk", "-l", path); !strings.Contains(out, "Disklabel type: dos") || strings.Contains(out, "does not start on") && c.size < 1<<40 {
			t.Error(out)
		}
	}
}

func TestRefuses(t *testing.T) {
	for want, list := range map[string][]Partition{
		"5 partitions don't fit":              make([]Partition, 5),
		"partition 1: 8 sectors from 0":       {{Linux, false, 0, 8}},
		"partition 1: 0 sectors from 1":       {{Linux, false, 1, 0}},
		"partition 1: 2049 sectors from 1":    {{Linux, false, 1, 2049}},
		"partition 2: it overlaps":            {{Linux, false, 1, 8}, {FAT32, false, 8, 8}},
		"-1 sectors from 9223372036854775807": {{Linux, false, 1<<63 - 1, -1}},
	} {
		if _, err := New(1<<20, 1, list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := New(3<<40, 1, []Partition{{Linux, false, 2048, 1 << 32}}); err == nil || !strings.Contains(err.Error(), "behind 2 TiB") {
		t.Errorf("%v", err)
	}
}

// TestAddresses has examples of sfdisk's.
func TestAddresses(t *testing.T) {
	for lba, want := range map[int64][]byte{
		1: {0, 2, 0}, 2048: {0x20, 0x21, 0x00}, 67583: {0x34, 0x30, 0x04}, 1023*255*63 + 255*63 - 1: {0xfe, 0xff, 0xff}, 1 << 31: {0xfe, 0xff, 0xff},
	} {
		got := make([]byte, 3)
		putAddress(got, lba)
		if !bytes.Equal(got, want) {
			t.Errorf("sector %d: % x, want % x", lba, got, want)
		}
	}
}

func TestRead(t *testing.T) {
	want := []Partition{{FAT32, true, 2048, 65536}, {Linux, false, 67584, 63488}}
	sector, err := New(64<<20, 1, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(sector), 64<<20)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Read(bytes.NewReader(sector), 32<<20); err == nil || !strings.Contains(err.Error(), "record 1") {
		t.Errorf("a disk that was cut off: %v", err)
	}
	for _, bad := range [][]byte{nil, sector[:511], make([]byte, 512)} {
		if _, err := Read(bytes.NewReader(bad), 64<<20); err == nil {
			t.Errorf("%d bytes were read", len(bad))
		}
	}
}

func FuzzRead(f *testing.F) {
	sector, err := New(64<<20, 1, []Partition{{FAT32, true, 2048, 65536}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sector, int64(64<<20))
	f.Fuzz(func(t *testing.T, sector []byte, size int64) {
		list, err := Read(bytes.NewReader(sector), size)
		if err != nil {
			return
		}
		if _, err := New(size, 1, list); err != nil {
			t.Errorf("what was read can't be written: %v", err)
		}
	})
}
