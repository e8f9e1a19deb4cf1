package families

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

func TestRaw(t *testing.T) {
	for _, a := range arch.All() {
		t.Run(a.Name, func(t *testing.T) {
			in := testInput(t, a.Name)
			sink, dir := build(t, raw{}, in)
			main, err := sink.Main()
			if err != nil || main.Name != "minimal-"+a.Name+".img" {
				t.Fatalf("main file %+v, %v", main, err)
			}
			checkDisk(t, in, filepath.Join(dir, main.Name))
		})
	}
}

// checkDisk lets sgdisk, fsck.vfat and mtools look at a raw disk.
func checkDisk(t *testing.T, in Input, path string) {
	t.Helper()
	if out := foreign.Run(t, "gdisk", "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	listing := foreign.Run(t, "gdisk", "sgdisk", "-i", "2", path)
	for _, want := range []string{strings.ToUpper(in.Arch.RootType), "Partition name: 'root'"} {
		if !strings.Contains(listing, want) {
			t.Errorf("sgdisk does not say %q:\n%s", want, listing)
		}
	}
	var espFirst, espLast, rootFirst int64
	for line := range strings.Lines(foreign.Run(t, "gdisk", "sgdisk", "-p", path)) {
		var number, first, last int64
		if n, _ := fmt.Sscan(line, &number, &first, &last); n == 3 && number == 1 {
			espFirst, espLast = first, last
		} else if n == 3 && number == 2 {
			rootFirst = first
		}
	}
	disk := readFile(t, path)
	root := disk[rootFirst*512:]
	if !bytes.HasPrefix(root, readFile(t, in.RootImage.Path)) {
		t.Error("the root partition does not hold the root image")
	}
	checkESP(t, in, disk[espFirst*512:(espLast+1)*512])
}

func checkESP(t *testing.T, in Input, esp []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "esp.img")
	if err := os.WriteFile(path, esp, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign.Run(t, "dosfstools", "fsck.vfat", "-n", path)
	out := t.TempDir()
	foreign.Run(t, "mtools", "mcopy", "-s", "-i", path, "::/", out)
	want := map[string]Blob{"EFI/BOOT/" + in.Arch.EFIBootFile: in.UKI}
	for _, f := range in.ESP {
		want[f.Path] = f.Blob
	}
	for name, blob := range want {
		if !bytes.Equal(readFile(t, out, name), readFile(t, blob.Path)) {
			t.Errorf("%s on the ESP differs", name)
		}
	}
}

func TestDiskSize(t *testing.T) {
	in := testInput(t, "amd64")
	disk, err := newDisk(in)
	if err != nil {
		t.Fatal(err)
	}
	in.DiskSize = disk.Size() - 1<<20
	_, err = newDisk(in)
	wantFault(t, err, fault.Input, fmt.Sprintf("needs %d; set the disk's size to %d MiB or more", disk.Size(), disk.Size()>>20))
	in.DiskSize = disk.Size() + 512
	_, err = newDisk(in)
	wantFault(t, err, fault.Input, "not a whole number of MiB")
	in.DiskSize = 200 << 20
	sink, dir := build(t, raw{}, in)
	main, err := sink.Main()
	if err != nil || main.Size != in.DiskSize {
		t.Errorf("%+v, %v", main, err)
	}
	checkDisk(t, in, filepath.Join(dir, main.Name))
}

func TestESPFilesThatClash(t *testing.T) {
	in := testInput(t, "amd64")
	in.ESP[0].Path = "efi/boot/extra.cfg"
	_, err := newDisk(in)
	wantFault(t, err, fault.Input, `"efi" and "EFI" are the same name`)
	in.ESP[0].Path = "EFI/BOOT/" + in.Arch.EFIBootFile
	_, err = newDisk(in)
	wantFault(t, err, fault.Input, "already")
}

func TestQcow2(t *testing.T) {
	in := testInput(t, "amd64")
	in.DiskSize = 1 << 30
	rawSink, rawDir := build(t, raw{}, in)
	sink, dir := build(t, qcow2{}, in)
	rawMain, err := rawSink.Main()
	if err != nil {
		t.Fatal(err)
	}
	main, err := sink.Main()
	if err != nil || main.Name != "minimal-amd64.qcow2" {
		t.Fatalf("%+v, %v", main, err)
	}
	rawPath, path := filepath.Join(rawDir, rawMain.Name), filepath.Join(dir, main.Name)
	if out := foreign.Run(t, "qemu-utils", "qemu-img", "check", path); !strings.Contains(out, "No errors were found") {
		t.Error(out)
	}
	foreign.Run(t, "qemu-utils", "qemu-img", "compare", "-f", "raw", "-F", "qcow2", rawPath, path)
	if main.Size > 4<<20 {
		t.Errorf("%d bytes", main.Size)
	}
}

// TestQcow2ProcessorCount builds with one and two processors.
func TestQcow2ProcessorCount(t *testing.T) {
	in := testInput(t, "arm64")
	var sums []string
	for _, n := range []int{1, 2} {
		old := runtime.GOMAXPROCS(n)
		sink, _ := build(t, qcow2{}, in)
		runtime.GOMAXPROCS(old)
		main, err := sink.Main()
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, main.SHA256)
	}
	if sums[0] != sums[1] {
		t.Error("the number of processors changes the image")
	}
}

func TestChangedRootImage(t *testing.T) {
	in := testInput(t, "amd64")
	in.RootImage.Size += 4096
	sink := NewSink(t.TempDir())
	defer sink.Close()
	err := raw{}.Build(t.Context(), in, sink)
	if err == nil || !strings.Contains(err.Error(), "root.img") {
		t.Errorf("%v", err)
	}
}
