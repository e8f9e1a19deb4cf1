//go:build boot

package vm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

// TestBootRPi4 boots what the Raspberry Pi's firmware would: kernel, initramfs
// and command line as they are on the boot partition, with the image as the
// disk. The machine is another; QEMU has no model of this one.
func TestBootRPi4(t *testing.T) {
	dir := variant(t, func(yaml string) string {
		return strings.Replace(yaml, "linux-image-cloud-${arch}", "linux-image-${arch}", 1) + "rpi4: {firmware: ./firmware}\n"
	})
	for _, name := range []string{"start4.elf", "fixup4.dat"} {
		path := filepath.Join(dir, "firmware", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("nobody runs this\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := buildPlatform(t, dir, "--arch", "arm64", "--variants", "disk-image-rpi4")
	a, err := arch.Lookup("arm64")
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(out, a.Name, "disk-image-rpi4", "minimal-arm64-rpi4.img")
	if table := run(t, "fdisk", "sfdisk", "--dump", image); !strings.Contains(table, "label: dos") {
		t.Fatal(table)
	}
	files := t.TempDir()
	run(t, "mtools", "mcopy", "-s", "-i", image+"@@1M", "::/", files)
	line, err := os.ReadFile(filepath.Join(files, "cmdline.txt"))
	if err != nil {
		t.Fatal(err)
	}
	cmdline := strings.TrimSpace(string(line)) + " console=" + a.Console
	args := append(vm.Base(a, 0), vm.Direct(a, filepath.Join(files, "vmlinuz"), filepath.Join(files, "initramfs.cpio.zst"), cmdline)...)
	args = append(args, "-drive", "if=none,id=d0,snapshot=on,format=raw,file="+image, "-device", "virtio-blk-pci,drive=d0")
	got := bootArgs(args, a, readManifest(t, filepath.Join(out, a.Name)).ComposefsDigest)
	keepLog(t, "arm64_disk-image-rpi4", got.console)
	if got.err != nil {
		t.Fatalf("booting: %v; the console said:\n%s", got.err, got.console)
	}
	t.Logf("reached userspace after %.1f s", got.seconds)
}
