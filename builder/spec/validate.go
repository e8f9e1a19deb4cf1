package spec

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

var (
	// namePattern is what a name may be in an OCI repository path, a file name
	// and a URL alike.
	namePattern    = regexp.MustCompile(`\A[a-z0-9]+(?:[._-][a-z0-9]+)*\z`)
	packagePattern = regexp.MustCompile(`\A[a-z0-9][a-z0-9+.-]+\z`) // Debian Policy 5.6.1
	mirrorPattern  = regexp.MustCompile(`(?i)\A(https?://[^/]|file:///)`)
	suitePattern   = regexp.MustCompile(`\A[a-z0-9][a-z0-9./-]*\z`)
)

func (f *File) applyDefaults() {
	if len(f.Architectures) == 0 {
		f.Architectures = arch.Names()
	}
	if len(f.Cmdline) == 0 {
		f.Cmdline = []string{"console=${console}"}
	}
	if f.Kernel.Package == "" && f.Kernel.Files == nil && f.Root.hasArchive() {
		f.Kernel.Package = "linux-image-cloud-${arch}"
	}
	f.Kernel.Modules = cmp.Or(f.Kernel.Modules, ModulesInRoot)
	if p := f.Root.Packages; p != nil && len(p.Components) == 0 {
		p.Components = []string{"main"}
	}
	if b := f.Root.Bootstrap; b != nil {
		b.applyDefaults()
	}
	if k := &f.Kernel; k.Suite != "" && len(k.Components) == 0 {
		k.Components = []string{"main"}
	}
	if s := f.Root.Script; s != nil {
		s.Timeout, s.Output = cmp.Or(s.Timeout, "1h"), cmp.Or(s.Output, OutputTar)
	}
	if l := &f.Root.Limits; l.Size == "" {
		l.Size = defaultLimitSize
	}
	if l := &f.Root.Limits; l.Files == 0 {
		l.Files = defaultLimitFiles
	}
	if p := f.Disk.Persist; p != nil {
		p.Size = cmp.Or(p.Size, rest)
		p.Label = cmp.Or(p.Label, "persist")
	}
}

// Bad returns an error of class Input that names the file, the field and its
// line.
func (f *File) Bad(field, format string, args ...any) *fault.Error {
	msg := fmt.Sprintf(format, args...)
	if line := f.line(field); line > 0 {
		return fault.Inputf("%s:%d: %s: %s", f.Path, line, field, msg)
	}
	return fault.Inputf("%s: %s: %s", f.Path, field, msg)
}

// line returns the line of the field or of its nearest parent that is there.
func (f *File) line(field string) int {
	for field != "" {
		if n, ok := f.lines[field]; ok {
			return n
		}
		cut := strings.LastIndexAny(field, ".[")
		field = field[:max(cut, 0)]
	}
	return 0
}

func (f *File) validate() error {
	checks := []func() error{f.validateName, f.validateArchitectures, f.validateRoot, f.validateKernel, f.validateModules, f.validateUsers, f.validateCmdline, f.validatePermissions, f.validateDisk, f.validateInitramfs, f.validateSecureBoot, f.validateRPi4, f.validateFolders}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) validateName() error {
	switch {
	case f.Name == "":
		return f.Bad("name", "missing").WithFix("give the platform a name")
	case len(f.Name) > 64 || !namePattern.MatchString(f.Name):
		return f.Bad("name", "%q is not a name", f.Name).WithFix("use up to 64 lower-case letters and digits, with single dots, dashes or underscores between them")
	}
	return nil
}

func (f *File) validateArchitectures() error {
	for i, name := range f.Architectures {
		field := fmt.Sprintf("architectures[%d]", i)
		if _, err := arch.Lookup(name); err != nil {
			return f.Bad(field, "%q is not an architecture", name).WithFix("use one of %s", strings.Join(arch.Names(), ", "))
		}
		if slices.Contains(f.Architectures[:i], name) {
			return f.Bad(field, "%q stands there twice", name).WithFix("remove one")
		}
	}
	return nil
}

func (f *File) validatePackages() error {
	p := f.Root.Packages
	if p == nil {
		return nil
	}
	if len(p.Include) == 0 {
		return f.Bad("root.packages.include", "no packages").WithFix("name at least one package")
	}
	if err := f.validateIncluded("root.packages", p.Include); err != nil {
		return err
	}
	return f.validateArchiveOf("root.packages", p)
}

func (f *File) validateIncluded(field string, names []string) error {
	for i, name := range names {
		if !packagePattern.MatchString(f.expand(name, "amd64")) {
			return f.Bad(fmt.Sprintf("%s.include[%d]", field, i), "%q is not a package name", name)
		}
	}
	return nil
}

func (f *File) validateArchiveOf(field string, p *Packages) error {
	if !suitePattern.MatchString(p.Suite) || strings.Contains(p.Suite, "..") {
		return f.Bad(field+".suite", "%q is not a suite", p.Suite).WithFix("name a suite of the archive, for example trixie")
	}
	if p.Mirror != "" && !mirrorPattern.MatchString(p.Mirror) {
		return f.Bad(field+".mirror", "%q is not a URL", p.Mirror).WithFix("give an http, https or file URL")
	}
	for i, r := range p.Repositories {
		if err := f.validateArchiveOf(fmt.Sprintf("%s.repositories[%d]", field, i), &Packages{Suite: r.Suite, Mirror: r.Mirror}); err != nil {
			return err
		}
	}
	return nil
}

// reserved are the parameters that a build adds itself.
var reserved = []string{"composefs", "bootsmith.roothash", "bootsmith.rootblocks", "bootsmith.persist"}

// maxCmdline bounds a definition's kernel parameters, in bytes. The kernel cuts
// its command line off after 2047 (COMMAND_LINE_SIZE of x86 and arm64), and with
// it the root's digests; the rest is for these, and for what boot loaders and
// firmware add.
const maxCmdline = 1536

func (f *File) validateCmdline() error {
	for i, p := range f.Cmdline {
		field := fmt.Sprintf("cmdline[%d]", i)
		key, _, _ := strings.Cut(p, "=")
		switch {
		case p == "" || strings.ContainsFunc(p, func(r rune) bool { return r < '!' || r > '~' }):
			return f.Bad(field, "%q is not a kernel parameter", p).WithFix("write one parameter per entry, printable ASCII without spaces")
		case slices.Contains(reserved, key):
			return f.Bad(field, "%q is set by the build", key).WithFix("remove it")
		}
		if strings.Contains(f.Expand(p, arch.Arch{}), "${") {
			return f.Bad(field, "%q holds an unknown variable", p).WithFix("use ${console} or ${arch}")
		}
	}
	for _, a := range arch.All() {
		if n := len(f.Expand(strings.Join(f.Cmdline, " "), a)); n > maxCmdline {
			return f.Bad("cmdline", "the parameters take %d bytes, more than the %d that a kernel leaves for them", n, maxCmdline).WithFix("remove some")
		}
	}
	return nil
}

func (f *File) validatePermissions() error {
	for i, a := range f.Permissions {
		field := fmt.Sprintf("permissions[%d]", i)
		if a.Path == "" {
			return f.Bad(field+".path", "missing")
		}
		if _, err := a.ParseMode(); err != nil {
			return f.Bad(field+".mode", "%q is not a mode", a.Mode).WithFix(`write up to four octal digits in quotes, for example "0640"`)
		}
	}
	return nil
}

// ParseMode returns the permission bits.
func (a Access) ParseMode() (uint32, error) {
	m, err := strconv.ParseUint(a.Mode, 8, 12)
	return uint32(m), err
}

func (f *File) expand(s, name string) string { return strings.ReplaceAll(s, "${arch}", name) }

// Expand replaces ${arch} and ${console} by the architecture's values.
func (f *File) Expand(s string, a arch.Arch) string {
	return strings.NewReplacer("${arch}", a.Name, "${console}", a.Console).Replace(s)
}
