package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Reference makes the six families of artifacts with the usual tools, one after
// the other, in the current folder: from in/root, in/initrd, in/vmlinuz,
// in/stub.efi and in/cmdline to out. It makes no SBOM.
type Reference struct {
	// Level is zstd's, for the initramfs.
	Level int
	// Composefs is a folder with mkcomposefs and its libraries: the root image
	// then holds a composefs image with its objects, and has a dm-verity tree.
	// "": it is an EROFS image of the root.
	Composefs string
}

const mib = 1 << 20

// Build makes all.
func (r Reference) Build() error {
	for _, dir := range []string{"out/kernel-initrd", "out/raw", "out/iso", "out/ipxe", "out/qcow2", "iso", "tmp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, step := range []func() error{
		r.kernelInitrd, r.uki, r.esp, r.raw, r.iso, r.ipxe,
		tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "out/raw/disk.img", "out/qcow2/disk.qcow2"),
		tool("umoci", "init", "--layout", "out/oci"),
		tool("umoci", "new", "--image", "out/oci:latest"),
		tool("umoci", "insert", "--image", "out/oci:latest", "in/root", "/"),
		sums,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// tool returns a step that runs a program.
func tool(argv ...string) func() error {
	return func() error { return run(exec.Command(argv[0], argv[1:]...)) }
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %s: %w: %s", cmd, err, out)
	}
	return nil
}

const rootImage = "out/kernel-initrd/root.img"

func (r Reference) kernelInitrd() error {
	for _, step := range []func() error{
		r.root,
		func() error { return r.archive("in/initrd", "out/kernel-initrd/initramfs.cpio.zst") },
		func() error { return cpio("out/kernel-initrd", []string{"root.img"}, "out/kernel-initrd/root.cpio") },
		tool("cp", "in/vmlinuz", "in/cmdline", "out/kernel-initrd"),
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// root makes the root image.
func (r Reference) root() error {
	if r.Composefs == "" {
		return tool("mkfs.erofs", "-T0", "--quiet", rootImage, "in/root")()
	}
	loaders, err := filepath.Glob(filepath.Join(r.Composefs, "usr/lib/*/ld-linux-*.so.*"))
	if err != nil || len(loaders) != 1 {
		return fmt.Errorf("finding mkcomposefs: %q has %d dynamic loaders", r.Composefs, len(loaders))
	}
	for _, step := range []func() error{
		tool("mkdir", "tmp/root"),
		tool(loaders[0], "--library-path", filepath.Dir(loaders[0]), filepath.Join(r.Composefs, "usr/bin/mkcomposefs"),
			"--print-digest", "--digest-store=tmp/root/objects", "in/root", "tmp/root/root.cfs"),
		tool("mkfs.erofs", "-T0", "--quiet", rootImage, "tmp/root"),
	} {
		if err := step(); err != nil {
			return err
		}
	}
	size, err := sizeOf(rootImage)
	if err != nil {
		return err
	}
	return tool("veritysetup", "format", "--salt=-", fmt.Sprintf("--data-blocks=%d", size/4096), fmt.Sprintf("--hash-offset=%d", size), rootImage, rootImage)()
}

// archive packs a folder with cpio and zstd.
func (r Reference) archive(dir, to string) error {
	var names []string
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, name)
		names = append(names, rel)
		return err
	})
	if err != nil {
		return err
	}
	if err := cpio(dir, names, "tmp/initramfs.cpio"); err != nil {
		return err
	}
	return run(exec.Command("zstd", "-q", "-f", "-T0", fmt.Sprintf("-%d", r.Level), "tmp/initramfs.cpio", "-o", to))
}

func cpio(dir string, names []string, to string) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	cmd := exec.Command("cpio", "--create", "--format=newc", "--quiet")
	cmd.Dir, cmd.Stdin, cmd.Stdout = dir, strings.NewReader(strings.Join(names, "\n")+"\n"), f
	return cmd.Run()
}

func (Reference) uki() error {
	return run(exec.Command("ukify", "build", "--linux=in/vmlinuz", "--initrd=out/kernel-initrd/initramfs.cpio.zst",
		"--cmdline=@in/cmdline", "--stub=in/stub.efi", "--os-release=@in/root/usr/lib/os-release", "--uname=linux", "--output=tmp/uki.efi"))
}

// esp makes a FAT32 file system with the UKI.
func (Reference) esp() error {
	size, err := sizeOf("tmp/uki.efi")
	if err != nil {
		return err
	}
	if err := truncate("tmp/esp.img", max(size+size/8, 36*mib)); err != nil {
		return err
	}
	for _, step := range []func() error{
		tool("mkfs.vfat", "-F", "32", "-n", "ESP", "tmp/esp.img"),
		tool("mmd", "-i", "tmp/esp.img", "::EFI", "::EFI/BOOT"),
		tool("mcopy", "-i", "tmp/esp.img", "tmp/uki.efi", "::EFI/BOOT/BOOTX64.EFI"),
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// raw makes a disk with both partitions.
func (Reference) raw() error {
	esp, err := sizeOf("tmp/esp.img")
	if err != nil {
		return err
	}
	root, err := sizeOf(rootImage)
	if err != nil {
		return err
	}
	const disk = "out/raw/disk.img"
	if err := truncate(disk, esp+root+3*mib); err != nil {
		return err
	}
	table := exec.Command("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk)
	table.Stdin = strings.NewReader(fmt.Sprintf("label: gpt\nstart=2048, size=%d, type=uefi\ntype=linux\n", esp/512))
	if err := run(table); err != nil {
		return err
	}
	if err := tool("dd", "if=tmp/esp.img", "of="+disk, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")(); err != nil {
		return err
	}
	at := fmt.Sprintf("seek=%d", (esp+2*mib-1)/mib)
	return tool("dd", "if="+rootImage, "of="+disk, "bs=1M", at, "conv=notrunc,sparse", "status=none")()
}

func (Reference) iso() error {
	if err := os.Link(rootImage, "iso/root.img"); err != nil {
		return err
	}
	return run(exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-V", "REFERENCE", "-append_partition", "2", "0xef", "tmp/esp.img",
		"-appended_part_as_gpt", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot", "-o", "out/iso/disk.iso", "iso"))
}

func (Reference) ipxe() error {
	cmdline, err := os.ReadFile("in/cmdline")
	if err != nil {
		return err
	}
	script := fmt.Sprintf("#!ipxe\nkernel vmlinuz initrd=initramfs.cpio.zst %s\ninitrd initramfs.cpio.zst\ninitrd root.cpio\nboot\n", strings.TrimSpace(string(cmdline)))
	return os.WriteFile("out/ipxe/boot.ipxe", []byte(script), 0o644)
}

// sums writes the digests of all files.
func sums() error {
	argv := []string{"sha256sum"}
	err := filepath.WalkDir("out", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			argv = append(argv, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		return err
	}
	return os.WriteFile("out/SHA256SUMS", out, 0o644)
}

func sizeOf(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func truncate(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate((size+mib-1)/mib*mib), f.Close())
}
