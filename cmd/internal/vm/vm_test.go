package vm

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCommandForEachFamily(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a,b")
	put(t, dir, map[string]string{
		"raw/x-amd64.img": "", "iso/x-amd64.iso": "", "qcow2/x-amd64.qcow2": "",
		"kernel-initrd/vmlinuz": "", "kernel-initrd/cmdline": "quiet composefs=1\n",
		"kernel-initrd/initramfs.cpio.zst": "abcde", "kernel-initrd/root.cpio": "0707",
	})
	for _, a := range arch.All() {
		for family, want := range map[string]string{
			"raw": "format=raw", "qcow2": "format=qcow2", "iso": "media=cdrom", "kernel-initrd": "quiet composefs=1",
		} {
			m := Machine{Arch: a, Dir: dir, Family: family, Scratch: t.TempDir()}
			args, err := m.Command()
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Join(args, " ")
			if args[0] != a.QEMU.Binary || !strings.Contains(line, want) {
				t.Errorf("%s %s: %q lacks %q", a.Name, family, line, want)
			}
			if family != "kernel-initrd" && (!strings.Contains(line, a.QEMU.Code) || !strings.Contains(line, "a,,b")) {
				t.Errorf("%s %s: %q lacks the firmware or an escaped path", a.Name, family, line)
			}
		}
	}
}

func TestEveryMediumHasItsDevice(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"raw/x.img": "", "iso/x.iso": "", "kernel-initrd/vmlinuz": "", "kernel-initrd/cmdline": "quiet\n",
		"kernel-initrd/initramfs.cpio.zst": "", "kernel-initrd/root.cpio": "", "kernel-initrd/root.img": "",
	})
	devices := map[string]string{
		"initrd": "-initrd", "disk": "root.img", "virtio": "virtio-blk-pci", "scsi": "scsi-hd", "nvme": "nvme,",
		"usb": "usb-storage", "sata": "ide-hd", "optical": "-cd", "usb-optical": "usb-storage,drive=cd0",
	}
	amd64, _ := arch.Lookup("amd64")
	for _, family := range []string{"raw", "iso", "kernel-initrd"} {
		media := Media(family, amd64)
		for _, medium := range media {
			args, err := Machine{Arch: amd64, Dir: dir, Family: family, Medium: medium, Scratch: t.TempDir()}.Command()
			if err != nil || !strings.Contains(strings.Join(args, " "), devices[medium]) {
				t.Errorf("%s by %s: %q, %v", family, medium, args, err)
			}
		}
		first, err := Machine{Arch: amd64, Dir: dir, Family: family, Scratch: t.TempDir()}.Command()
		if err != nil || !strings.Contains(strings.Join(first, " "), devices[media[0]]) {
			t.Errorf("%s: %q, %v", family, first, err)
		}
	}
	if got := Media("oci", amd64); got != nil {
		t.Errorf("oci: %q", got)
	}
}

// The firmware for arm64 can't boot from SATA disks.
func TestMediaThatAreMissing(t *testing.T) {
	arm64, _ := arch.Lookup("arm64")
	for _, medium := range []string{"sata", "floppy"} {
		_, err := Machine{Arch: arm64, Family: "raw", Medium: medium}.Command()
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "use one of virtio, scsi, nvme, usb") || strings.Contains(err.Error(), ", sata") {
			t.Errorf("%s: %v", medium, err)
		}
	}
}

func TestDirectJoinsTheInitrds(t *testing.T) {
	dir, scratch := t.TempDir(), t.TempDir()
	put(t, dir, map[string]string{
		"kernel-initrd/vmlinuz": "", "kernel-initrd/cmdline": "quiet\n",
		"kernel-initrd/initramfs.cpio.zst": "abcde", "kernel-initrd/root.cpio": "0707",
	})
	a, _ := arch.Lookup("amd64")
	args, err := Machine{Arch: a, Dir: dir, Family: "kernel-initrd", Scratch: scratch}.Command()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(args[slices.Index(args, "-initrd")+1])
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "abcde0707" {
		t.Errorf("initrd = %q", got)
	}
}

func TestCommandRefuses(t *testing.T) {
	a, _ := arch.Lookup("arm64")
	for family, want := range map[string]string{"ipxe": "use one of kernel-initrd", "raw": "build the family first"} {
		_, err := Machine{Arch: a, Dir: t.TempDir(), Family: family}.Command()
		if err == nil || fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", family, err)
		}
	}
}

func TestMissingToolsNameTheirPackage(t *testing.T) {
	a, _ := arch.Lookup("amd64")
	a.QEMU.Binary = "qemu-system-nowhere"
	err := Machine{Arch: a}.Run(t.Context(), nil, nil, false)
	if fault.ClassOf(err) != fault.Tool || !strings.Contains(err.Error(), "install the package qemu-system-x86") {
		t.Errorf("missing emulator: %v", err)
	}
}

// A machine that ends is noticed although nobody types anything.
func TestStartReturnsWhenTheMachineEnds(t *testing.T) {
	stdin, keyboard := io.Pipe()
	defer keyboard.Close()
	var console bytes.Buffer
	if err := Start(t.Context(), []string{"echo", "bye"}, stdin, &console, false); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(console.String(), "bye ") {
		t.Errorf("the console said %q", console.String())
	}
}
