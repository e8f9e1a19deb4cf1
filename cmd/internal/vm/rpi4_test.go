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

// rpi4Image is a built image for the Raspberry Pi 4 and what is on its boot
// partition.
type rpi4Image struct {
	arch           arch.Arch
	path, digest   string
	files          string // folder
	kernel, initrd string
	cmdline        string
}

// buildRPi4 builds the minimal platform for the Raspberry Pi 4, with firmware
// that no machine of QEMU runs. QEMU wants cards whose size is a power of two.
func buildRPi4(t *testing.T) rpi4Image {
	t.Helper()
	dir := variant(t, func(yaml string) string {
		return strings.Replace(yaml, "linux-image-cloud-${arch}", "linux-image-${arch}", 1) + "disk: {size: 256MiB}\nrpi4: {firmware: ./firmware}\n"
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
	p := rpi4Image{
		arch: a, path: filepath.Join(out, a.Name, "disk-image-rpi4", "minimal-arm64-rpi4.img"), files: t.TempDir(),
		digest: readManifest(t, filepath.Join(out, a.Name)).ComposefsDigest,
	}
	if table := run(t, "fdisk", "sfdisk", "--dump", p.path); !strings.Contains(table, "label: dos") {
		t.Fatal(table)
	}
	run(t, "mtools", "mcopy", "-s", "-i", p.path+"@@1M", "::/", p.files)
	p.kernel, p.initrd = filepath.Join(p.files, "vmlinuz"), filepath.Join(p.files, "initramfs.cpio.zst")
	line, err := os.ReadFile(filepath.Join(p.files, "cmdline.txt"))
	if err != nil {
		t.Fatal(err)
	}
	p.cmdline = strings.TrimSpace(string(line))
	return p
}

// TestBootRPi4 boots what the Raspberry Pi's firmware would, which QEMU can't
// run: kernel, initramfs and command line as they are on the boot partition.
func TestBootRPi4(t *testing.T) {
	p := buildRPi4(t)
	t.Run("virt", func(t *testing.T) { p.bootVirt(t) })
	t.Run("raspi4b", func(t *testing.T) { p.bootBoard(t) })
}

// bootVirt boots another machine, to a shell, with the image as its disk.
func (p rpi4Image) bootVirt(t *testing.T) {
	args := append(vm.Base(p.arch, 0), vm.Direct(p.arch, p.kernel, p.initrd, p.cmdline+" console="+p.arch.Console)...)
	args = append(args, "-drive", "if=none,id=d0,snapshot=on,format=raw,file="+p.path, "-device", "virtio-blk-pci,drive=d0")
	got := bootArgs(args, p.arch, p.digest)
	keepLog(t, "arm64_disk-image-rpi4_virt", got.console)
	if got.err != nil {
		t.Fatalf("booting: %v; the console said:\n%s", got.err, got.console)
	}
	t.Logf("reached userspace after %.1f s", got.seconds)
}

// unmodelled are drivers of devices that the emulated board lacks: touching
// their registers is an error there.
const unmodelled = "initcall_blacklist=brcmstb_l2_driver_init,brcmstb_i2c_driver_init,clk_disable_unused nr_cpus=1"

// bootBoard boots QEMU's Raspberry Pi 4 from the image as an SD card, with the
// kernel's own device tree. The emulated firmware doesn't switch the card's
// power, and the serial port on the GPIO header floods the CPU with interrupts,
// so the one does without and the other is not a console. The other port is
// Bluetooth's and has no device file: init's messages go to the kernel's log.
func (p rpi4Image) bootBoard(t *testing.T) {
	qemu := newQEMU(t, "qemu-system-arm", "qemu-system-aarch64")
	tree := filepath.Join(p.files, "bcm2711-rpi-4-b.dtb")
	run(t, "device-tree-compiler", "fdtput", "-d", tree, "/emmc2bus/mmc@7e340000", "vmmc-supply", "vqmmc-supply")
	cmdline := strings.Replace(p.cmdline, "console=ttyS1,115200 quiet", "console=ttyAMA0", 1)
	args := append(qemu, "-accel", "tcg", "-M", "raspi4b", "-display", "none", "-nodefaults", "-no-reboot",
		"-kernel", p.kernel, "-initrd", p.initrd, "-dtb", tree, "-append", cmdline+" "+unmodelled,
		"-drive", "if=none,id=c0,snapshot=on,format=raw,file="+p.path, "-device", "sd-card,drive=c0,bus=main-system-bus/generic-sdhci/sd-bus")
	console, err := takeSteps(args, []step{{"", "bootsmith-init: root verified composefs=" + p.digest}, started})
	keepLog(t, "arm64_disk-image-rpi4_raspi4b", console)
	if err != nil {
		t.Fatalf("%v; the console said:\n%s", err, console)
	}
}
