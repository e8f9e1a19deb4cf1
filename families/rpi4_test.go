package families

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families/internal/foreign"
	"github.com/powernode/bootsmith/families/internal/mbr"
)

// rpi4Input is a build for the Raspberry Pi 4: the kernel begins as an arm64
// Image does, and the firmware is made up.
func rpi4Input(t testing.TB, archName string) Input {
	t.Helper()
	in := testInput(t, archName)
	dir := t.TempDir()
	image := readFile(t, in.Kernel.Path)
	copy(image[56:], "ARM\x64")
	in.Kernel.Path = filepath.Join(dir, "vmlinuz")
	if err := os.WriteFile(in.Kernel.Path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	in.Kernel = blobOf(t, in.Kernel.Path)
	for _, name := range []string{"start4.elf", "fixup4.dat", "overlays/disable-bt.dtbo", "LICENCE.broadcom"} {
		in.RPi4.Firmware = append(in.RPi4.Firmware, ESPFile{Path: name, Blob: writeBlob(t, dir, filepath.Base(name), 5000)})
	}
	in.RPi4.DeviceTree = writeBlob(t, dir, "kernel.dtb", 50_000)
	in.RPi4.Config = []string{"[pi4]", "gpu_mem=16"}
	return in
}

func buildRPi4(t testing.TB, in Input) string {
	t.Helper()
	sink, dir := build(t, rpi4{}, in)
	main, err := sink.Main()
	if err != nil || main.Name != "minimal-arm64-rpi4.img" {
		t.Fatalf("main file %+v, %v", main, err)
	}
	return filepath.Join(dir, main.Name)
}

// TestRPi4 lets sfdisk, fsck.vfat and mtools look at the image.
func TestRPi4(t *testing.T) {
	in := rpi4Input(t, "arm64")
	path := buildRPi4(t, in)
	if out := foreign.Run(t, "fdisk", "sfdisk", "--verify", path); !strings.Contains(out, "No errors detected") {
		t.Error(out)
	}
	boot, root := rpi4Partitions(t, path)
	if !bytes.Equal(root, readFile(t, in.RootImage.Path)) {
		t.Error("the second partition is not the root image")
	}
	files := unpackFAT(t, boot)
	want := map[string]Blob{"vmlinuz": in.Kernel, "initramfs.cpio.zst": in.Initramfs, "bcm2711-rpi-4-b.dtb": in.RPi4.DeviceTree}
	for _, f := range slices.Concat(in.RPi4.Firmware, in.ESP) {
		want[f.Path] = f.Blob
	}
	for name, blob := range want {
		if !bytes.Equal(readFile(t, files, name), readFile(t, blob.Path)) {
			t.Errorf("%s differs", name)
		}
	}
	const config = "arm_64bit=1\nkernel=vmlinuz\ninitramfs initramfs.cpio.zst followkernel\nenable_uart=1\nupstream_kernel=1\n[pi4]\ngpu_mem=16\n"
	if got := string(readFile(t, files, "config.txt")); got != config {
		t.Errorf("config.txt is\n%s", got)
	}
	line := strings.Replace(in.Cmdline, "console=ttyAMA0", "console=ttyS1,115200", 1) + "\n"
	if got := string(readFile(t, files, "cmdline.txt")); got != line {
		t.Errorf("cmdline.txt is %q, want %q", got, line)
	}
}

// rpi4Partitions reads the two partitions where sfdisk says they are.
func rpi4Partitions(t testing.TB, path string) (boot, root []byte) {
	t.Helper()
	dump := foreign.Run(t, "fdisk", "sfdisk", "--dump", path)
	if !strings.Contains(dump, "label: dos") || !strings.Contains(dump, "type=c") || !strings.Contains(dump, "type=83") {
		t.Errorf("sfdisk says\n%s", dump)
	}
	disk := readFile(t, path)
	list, err := mbr.Read(bytes.NewReader(disk), int64(len(disk)))
	if err != nil || len(list) < 2 {
		t.Fatalf("%v, %v", list, err)
	}
	part := func(p mbr.Partition) []byte { return disk[p.Start*512:][:p.Sectors*512] }
	return part(list[0]), part(list[1])
}

func unpackFAT(t testing.TB, image []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "boot.img")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign.Run(t, "dosfstools", "fsck.vfat", "-n", path)
	out := t.TempDir()
	foreign.Run(t, "mtools", "mcopy", "-s", "-i", path, "::/", out)
	return out
}

// The maker's device tree goes with the maker's name of the serial port.
func TestRPi4WithTheMakersDeviceTree(t *testing.T) {
	in := rpi4Input(t, "arm64")
	tree := writeBlob(t, t.TempDir(), "bcm2711-rpi-4-b.dtb", 60_000)
	in.RPi4.Firmware = append(in.RPi4.Firmware, ESPFile{Path: "bcm2711-rpi-4-b.dtb", Blob: tree})
	in.Cmdline = strings.Replace(in.Cmdline, "console=ttyAMA0", "console=tty0 console=ttyAMA0,9600", 1)
	boot, _ := rpi4Partitions(t, buildRPi4(t, in))
	files := unpackFAT(t, boot)
	if !bytes.Equal(readFile(t, files, "bcm2711-rpi-4-b.dtb"), readFile(t, tree.Path)) {
		t.Error("the kernel's device tree replaced the maker's")
	}
	if got := string(readFile(t, files, "cmdline.txt")); !strings.HasPrefix(got, "console=tty0 console=serial0,115200 composefs=") {
		t.Errorf("cmdline.txt is %q", got)
	}
	if got := string(readFile(t, files, "config.txt")); strings.Contains(got, "upstream_kernel") {
		t.Errorf("config.txt is\n%s", got)
	}
}

func TestRPi4WithPersist(t *testing.T) {
	in := rpi4Input(t, "arm64")
	in.Persist = &Persist{Label: "state"}
	in.DiskSize = 300 << 20
	path := buildRPi4(t, in)
	disk := readFile(t, path)
	list, err := mbr.Read(bytes.NewReader(disk), in.DiskSize)
	if err != nil || len(list) != 3 || int64(len(disk)) != in.DiskSize {
		t.Fatalf("%d bytes, %v, %v", len(disk), list, err)
	}
	state := filepath.Join(t.TempDir(), "state.img")
	if err := os.WriteFile(state, disk[list[2].Start*512:][:list[2].Sectors*512], 0o600); err != nil {
		t.Fatal(err)
	}
	foreign.Run(t, "e2fsprogs", "e2fsck", "-fn", state)
}

func TestRPi4Refuses(t *testing.T) {
	for want, change := range map[string]func(*Input){
		"not an uncompressed arm64 Image":                  func(in *Input) { in.Kernel = in.Initramfs },
		`"start4.elf" is missing`:                          func(in *Input) { in.RPi4.Firmware = in.RPi4.Firmware[1:] },
		`"bcm2711-rpi-4-b.dtb" is missing`:                 func(in *Input) { in.RPi4.DeviceTree = Blob{} },
		"change the firmware's files or those for the ESP": func(in *Input) { in.ESP[0].Path = "CONFIG.TXT" },
		"its content needs":                                func(in *Input) { in.DiskSize = 1 << 20 },
		"make the disk smaller":                            func(in *Input) { in.DiskSize = 3 << 40; in.Persist = &Persist{Label: "x", Size: 2 << 40} },
	} {
		in := rpi4Input(t, "arm64")
		change(&in)
		sink := NewSink(t.TempDir())
		err := rpi4{}.Build(t.Context(), in, sink)
		sink.Close()
		wantFault(t, err, fault.Input, want)
	}
}

func TestLimitedFamilies(t *testing.T) {
	if slices.Contains(Default(), RPi4Name) || len(Default()) != len(All())-1 {
		t.Errorf("the default is %q", Default())
	}
	for _, a := range arch.All() {
		if Supports(rpi4{}, a) != (a.Name == "arm64") || !Supports(raw{}, a) {
			t.Errorf("%s is confused", a.Name)
		}
	}
}

// TestRPi4Proves reads an image back, a good one and one with another root.
func TestRPi4Proves(t *testing.T) {
	in := rpi4Input(t, "arm64")
	real := provableInput(t, "arm64")
	in.RootImage, in.Cmdline, in.RootDigest, in.RootHash = real.RootImage, real.Cmdline, real.RootDigest, real.RootHash
	path := buildRPi4(t, in)
	p, err := rpi4{}.Prove(t.Context(), filepath.Dir(path), in.Arch)
	if err != nil || p.RootDigest != in.RootDigest || p.RootHash != in.RootHash {
		t.Fatalf("%+v, %v", p, err)
	}
	disk := readFile(t, path)
	list, err := mbr.Read(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]int64{"root": list[1].Start*512 + 5000, "table": 510, "boot partition": list[0].Start*512 + 11} {
		bad := bytes.Clone(disk)
		bad[at] ^= 0xff
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := (rpi4{}).Prove(t.Context(), filepath.Dir(path), in.Arch); err == nil {
			t.Errorf("a changed %s is believed", name)
		}
	}
}
