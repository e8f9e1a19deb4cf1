package families

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

// TestPersist asks sgdisk and e2fsck about the third partition.
func TestPersist(t *testing.T) {
	for _, a := range arch.All() {
		t.Run(a.Name, func(t *testing.T) {
			in := testInput(t, a.Name)
			in.DiskSize = 300 << 20
			in.Persist = &Persist{Label: "persist"}
			sink, dir := build(t, raw{}, in)
			main, err := sink.Main()
			if err != nil || main.Size != in.DiskSize {
				t.Fatalf("%+v, %v", main, err)
			}
			path := filepath.Join(dir, main.Name)
			checkDisk(t, in, path)
			first, sectors := checkPersistEntry(t, in, path)
			if free := in.DiskSize - (first+sectors)*512; free > 1<<20 {
				t.Errorf("%d bytes at the disk's end are free", free)
			}
			checkPersist(t, readFile(t, path)[first*512:(first+sectors)*512])
		})
	}
}

// checkPersistEntry returns the first sector and the number of sectors.
func checkPersistEntry(t *testing.T, in Input, path string) (first, sectors int64) {
	t.Helper()
	listing := foreign.Run(t, "gdisk", "sgdisk", "-i", "3", path)
	id := fmt.Sprintf("%X", in.ID("persist"))
	id = id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	for _, want := range []string{"0FC63DAF-8483-4772-8E79-3D69D8477DE4 (Linux filesystem)", "unique GUID: " + id,
		"Partition name: 'persist'", "Attribute flags: 8000000000000000"} {
		if !strings.Contains(listing, want) {
			t.Errorf("sgdisk does not say %q:\n%s", want, listing)
		}
	}
	for line := range strings.Lines(listing) {
		fmt.Sscanf(line, "First sector: %d", &first)
		fmt.Sscanf(line, "Partition size: %d", &sectors)
	}
	return first, sectors
}

func checkPersist(t *testing.T, data []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "persist.img")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign.Run(t, "e2fsprogs", "e2fsck", "-fn", path)
	if out := foreign.Run(t, "e2fsprogs", "e2label", path); out != "persist\n" {
		t.Errorf("the label is %q", out)
	}
}

func TestPersistSize(t *testing.T) {
	in := testInput(t, "amd64")
	in.Persist = &Persist{Label: "state", Size: 40 << 20}
	without := in
	without.Persist = nil
	small, err := newDisk(without)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := newDisk(in)
	if err != nil {
		t.Fatal(err)
	}
	if grown := disk.Size() - small.Size(); grown < 40<<20 || grown > 41<<20 {
		t.Errorf("the disk grows by %d bytes", grown)
	}
	in.DiskSize = disk.Size() - 1<<20
	_, err = newDisk(in)
	wantFault(t, err, fault.Input, fmt.Sprintf("set the disk's size to %d MiB or more", disk.Size()>>20))
	// The rest of a disk has to be enough for a file system.
	in.Persist.Size = 0
	in.DiskSize = small.Size() + 15<<20
	_, err = newDisk(in)
	wantFault(t, err, fault.Input, "set the disk's size to")
	in.DiskSize = 17 << 40
	_, err = newDisk(in)
	wantFault(t, err, fault.Input, "change disk.persist")
}

// TestPersistQcow2 compares with raw, and keeps what is empty small.
func TestPersistQcow2(t *testing.T) {
	in := testInput(t, "arm64")
	in.DiskSize = 2 << 30
	in.Persist = &Persist{Label: "persist"}
	rawSink, rawDir := build(t, raw{}, in)
	sink, dir := build(t, qcow2{}, in)
	rawMain, err := rawSink.Main()
	if err != nil {
		t.Fatal(err)
	}
	main, err := sink.Main()
	if err != nil {
		t.Fatal(err)
	}
	foreign.Run(t, "qemu-utils", "qemu-img", "compare", "-f", "raw", "-F", "qcow2", filepath.Join(rawDir, rawMain.Name), filepath.Join(dir, main.Name))
	if main.Size > 5<<20 {
		t.Errorf("%d bytes", main.Size)
	}
}
