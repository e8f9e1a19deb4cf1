package gpt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	diskfs "github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

const root = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"

func id(n byte) [16]byte {
	return [16]byte{0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x46, 0x17, 0x98, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, n}
}

func twoPartitions(size int64) []Partition {
	return []Partition{
		{Type: ESP, ID: id(1), Name: "esp", Start: 2048, Sectors: 4096},
		{Type: root, ID: id(2), Name: "root", Start: 6144, Sectors: size/SectorSize - 33 - 6144, Attributes: ReadOnly},
	}
}

func save(t *testing.T, size int64, table Table) string {
	t.Helper()
	disk := extent.New(size)
	disk.AddBytes(0, table.Head)
	disk.AddBytes(table.TailOffset, table.Tail)
	return foreign.Save(t, disk)
}

func TestForeignReaders(t *testing.T) {
	for _, size := range []int64{16 << 20, 16<<20 + 512, 3 << 30, 3 << 40} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			table, err := New(size, id(0), twoPartitions(size))
			if err != nil {
				t.Fatal(err)
			}
			path := save(t, size, table)
			if out := foreign.Run(t, "gdisk", "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
				t.Error(out)
			}
			listing := foreign.Run(t, "gdisk", "sgdisk", "-p", "-i", "2", path)
			for _, want := range []string{
				"Disk identifier (GUID): 10111213-1415-4617-9819-1A1B1C1D1E00",
				"Partition unique GUID: 10111213-1415-4617-9819-1A1B1C1D1E02",
				"Partition GUID code: 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
				"First sector: 6144", "Attribute flags: 1000000000000000", "Partition name: 'root'",
			} {
				if !strings.Contains(listing, want) {
					t.Errorf("sgdisk does not say %q:\n%s", want, listing)
				}
			}
			readWithDiskfs(t, path, size)
		})
	}
}

func readWithDiskfs(t *testing.T, path string, size int64) {
	t.Helper()
	storage, err := file.OpenFromPath(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	table, err := diskfs.Read(storage, SectorSize, SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Verify(storage, uint64(size)); err != nil {
		t.Error(err)
	}
	if table.RecoveredFromBackup {
		t.Error("the primary table is not valid")
	}
	if p := table.Partitions[0]; p.Name != "esp" || p.Start != 2048 || p.End != 6143 || p.Type != diskfs.EFISystemPartition {
		t.Errorf("first partition: %+v", p)
	}
}

// TestBackupAlone breaks the primary table: the backup must stand in.
func TestBackupAlone(t *testing.T) {
	const size = 16 << 20
	table, err := New(size, id(0), twoPartitions(size))
	if err != nil {
		t.Fatal(err)
	}
	clear(table.Head[SectorSize : 2*SectorSize])
	storage, err := file.OpenFromPath(save(t, size, table), true)
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	read, err := diskfs.Read(storage, SectorSize, SectorSize)
	if err != nil || !read.RecoveredFromBackup || read.Partitions[1].Name != "root" {
		t.Errorf("%+v, %v", read, err)
	}
}

func TestProtectiveMBR(t *testing.T) {
	for size, want := range map[int64][]byte{
		16 << 20: {0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0x7f, 0, 0},
		3 << 40:  {0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
	} {
		table, err := New(size, id(0), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := table.Head[446:462]; !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %x, want %x", size, got, want)
		}
	}
}

func TestDeterminism(t *testing.T) {
	one, err := New(1<<30, id(0), twoPartitions(1<<30))
	if err != nil {
		t.Fatal(err)
	}
	two, err := New(1<<30, id(0), twoPartitions(1<<30))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Head, two.Head) || !bytes.Equal(one.Tail, two.Tail) {
		t.Error("two tables of the same partitions differ")
	}
}

func TestErrors(t *testing.T) {
	const size = 16 << 20
	for name, tc := range map[string]struct {
		size       int64
		partitions []Partition
		want       string
	}{
		"odd size":  {size + 1, nil, "not a multiple of 512"},
		"tiny":      {66 * 512, nil, "too small"},
		"in header": {size, []Partition{{Type: ESP, Name: "esp", Start: 33, Sectors: 1}}, "not within 34 to 32734"},
		"in backup": {size, []Partition{{Type: ESP, Name: "esp", Start: 32734, Sectors: 2}}, "not within 34 to 32734"},
		"empty":     {size, []Partition{{Type: ESP, Name: "esp", Start: 2048}}, "0 sectors"},
		"overlap": {size, []Partition{{Type: ESP, Name: "esp", Start: 2048, Sectors: 2}, {Type: ESP, Name: "b", Start: 2049, Sectors: 9}},
			`overlaps "esp"`},
		"long name": {size, []Partition{{Type: ESP, Name: strings.Repeat("🚀", 19), Start: 2048, Sectors: 2}}, "36 UTF-16"},
		"bad type":  {size, []Partition{{Type: "esp", Name: "esp", Start: 2048, Sectors: 2}}, "type GUID"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tc.size, id(0), tc.partitions)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
