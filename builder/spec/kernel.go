package spec

import (
	"regexp"
	"strings"
)

// Kernel is the kernel's source.
type Kernel struct {
	Package    string       `yaml:"package" doc:"kernel image package or its meta package; ${arch} is replaced; default: linux-image-cloud-${arch} when the root comes from packages, else the root's own kernel"`
	Files      *KernelFiles `yaml:"files" doc:"the kernel is in files of the build host"`
	Suite      string       `yaml:"suite" doc:"the archive's suite with the package and systemd's EFI stub, when the root doesn't come from packages"`
	Mirror     string       `yaml:"mirror" doc:"base URL of that archive; default: as for root.packages"`
	Components []string     `yaml:"components" doc:"its components; default: [main]"`
	Keyring    string       `yaml:"keyring" doc:"OpenPGP keyring that signs it; default: as for root.packages"`
	Modules    string       `yaml:"modules" doc:"root: the root has all modules of the kernel, and their index for modprobe; initramfs: there are only those that booting needs; default: root"`

	Repositories []Repository `yaml:"repositories" doc:"further suites, as for root.packages"`
}

// KernelFiles is a kernel in files of the build host; package
// builder/kernel/files reads it.
type KernelFiles struct {
	Image       string `yaml:"image" doc:"the kernel's image: a bzImage, an arm64 Image (perhaps in gzip) or an EFI zboot image; ${arch} is replaced"`
	Modules     string `yaml:"modules" doc:"folder or tar archive with lib/modules/<version>, <version>, or what that folder holds; ${arch} is replaced; default: the kernel has no modules"`
	Version     string `yaml:"version" doc:"the kernel's release, as uname -r prints it; default: the name of the folder with the modules"`
	DeviceTrees string `yaml:"device_trees" doc:"folder or tar archive with the kernel's device trees, as make dtbs_install fills one; ${arch} is replaced"`
}

// IsRelease tells whether a kernel can have that release: it becomes the name
// of a folder and a section of the unified kernel image. The kernel's own limit
// is 64 bytes.
func IsRelease(s string) bool { return releasePattern.MatchString(s) }

var releasePattern = regexp.MustCompile(`\A[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}\z`)

func (f *File) validateKernel() error {
	k := f.Kernel
	if k.Package != "" && !packagePattern.MatchString(f.expand(k.Package, "amd64")) {
		return f.Bad("kernel.package", "%q is not a package name", k.Package)
	}
	if err := f.validateKernelFiles(); err != nil {
		return err
	}
	other := k.Mirror != "" || k.Keyring != "" || len(k.Components) > 0 || len(k.Repositories) > 0
	switch {
	case f.Root.hasArchive() && (k.Suite != "" || other):
		return f.Bad("kernel", "the kernel comes from the archive of %s", f.ArchiveField()).WithFix("keep kernel.package only")
	case k.Suite != "":
		return f.validateArchiveOf("kernel", f.PackageArchive())
	case !f.Root.hasArchive() && (k.Package != "" || other):
		return f.Bad("kernel.suite", "missing").WithFix("name the suite that has the kernel's package, or remove kernel: then the root's own kernel is used")
	}
	return nil
}

func (f *File) validateKernelFiles() error {
	k := f.Kernel.Files
	switch {
	case k == nil:
		return nil
	case f.Kernel.Package != "":
		return f.Bad("kernel.files", "kernel.package names a kernel already").WithFix("keep one of the two")
	case k.Image == "":
		return f.Bad("kernel.files.image", "missing").WithFix("name the kernel's image")
	case k.Version != "" && !IsRelease(k.Version):
		return f.Bad("kernel.files.version", "%q is not a kernel's release", k.Version).WithFix("write what uname -r prints")
	case len(f.Architectures) > 1 && !strings.Contains(k.Image, "${arch}"):
		return f.Bad("kernel.files.image", "one image can't be that of %d architectures", len(f.Architectures)).WithFix("write ${arch} where the paths differ, or name one architecture")
	}
	return nil
}

func (f *File) validateModules() error {
	if m := f.Kernel.Modules; m != ModulesInRoot && m != ModulesInInitramfs {
		return f.Bad("kernel.modules", "%q is not a place", m).WithFix("use %s or %s", ModulesInRoot, ModulesInInitramfs)
	}
	return nil
}
