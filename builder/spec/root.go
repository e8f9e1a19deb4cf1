package spec

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/powernode/bootsmith/arch"
)

// Root is the root's one source.
type Root struct {
	Packages  *Packages  `yaml:"packages" doc:"a signed Debian or Ubuntu archive, unpack-only"`
	Bootstrap *Bootstrap `yaml:"bootstrap" doc:"a signed Debian or Ubuntu archive, installed with mmdebstrap"`
	Archive   *Archive   `yaml:"archive" doc:"a tar archive: plain, gzip, xz or zstd"`
	Directory *Directory `yaml:"directory" doc:"a folder of the build host"`
	Script    *Script    `yaml:"script" doc:"the platform's own build script"`
	Image     *Image     `yaml:"image" doc:"a container image"`
	Limits    Limits     `yaml:"limits" doc:"how much the source may bring, of packages each of them"`
}

// Archive is a tar archive.
type Archive struct {
	Path   string `yaml:"path" doc:"the archive's file; ${arch} is replaced"`
	SHA256 string `yaml:"sha256" doc:"digest that the archive must have, in hex; default: any, the plan records it"`
}

// Directory is a folder of the build host.
type Directory struct {
	Path   string  `yaml:"path" doc:"the folder; ${arch} is replaced"`
	Owners []Owner `yaml:"owners" doc:"owners of paths and what is below them; the last that fits decides; default: what belongs to the building user belongs to root"`
}

// Owner sets the owner of a path and of what is below it.
type Owner struct {
	Path  string `yaml:"path" doc:"path in the root"`
	Owner uint32 `yaml:"owner" doc:"numeric user id"`
	Group uint32 `yaml:"group" doc:"numeric group id"`
}

// Script is a platform's own build script; package builder/source/script has the
// contract.
type Script struct {
	Path    string `yaml:"path" doc:"the script, executable; ${arch} is replaced; it runs in the definition's folder"`
	Timeout string `yaml:"timeout" doc:"how long it may take, for example 30m; default: 1h"`
	Output  string `yaml:"output" doc:"tar: it writes a tar archive to file descriptor 3; root: it fills the folder $BOOTSMITH_ROOT; default: tar"`
}

// What a script can make.
const (
	OutputTar  = "tar"
	OutputRoot = "root"
)

// TimeLimit returns how long the script may take.
func (s Script) TimeLimit() (time.Duration, error) { return parseTimeLimit(s.Timeout) }

func parseTimeLimit(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = fmt.Errorf("parsing duration %q: not above zero", s)
	}
	return d, err
}

// Limits bounds what a source may bring.
type Limits struct {
	Size  string `yaml:"size" doc:"sum of the files' sizes, for example 4GiB; default: 64GiB"`
	Files uint32 `yaml:"files" doc:"number of files, folders and links; default: 2000000"`
}

// The limits' defaults.
const (
	defaultLimitSize  = "64GiB"
	defaultLimitFiles = 2_000_000
)

// Bytes returns the largest sum of sizes, in bytes.
func (l Limits) Bytes() (int64, error) { return ParseSize(l.Size) }

var digestPattern = regexp.MustCompile(`\A[0-9a-f]{64}\z`)

// PackageArchive returns the package archive that the definition uses: the
// root's, or that of the kernel alone, which includes nothing; nil for none.
func (f *File) PackageArchive() *Packages {
	switch {
	case f.Root.Packages != nil:
		return f.Root.Packages
	case f.Root.Bootstrap != nil:
		return f.Root.Bootstrap.packages()
	}
	k := f.Kernel
	if k.Suite == "" {
		return nil
	}
	return &Packages{Suite: k.Suite, Mirror: k.Mirror, Components: k.Components, Keyring: k.Keyring, Repositories: k.Repositories}
}

// hasArchive tells whether the root is made of an archive's packages.
func (r Root) hasArchive() bool { return r.Packages != nil || r.Bootstrap != nil }

// ArchiveField returns the field that names the package archive.
func (f *File) ArchiveField() string {
	switch {
	case f.Root.Packages != nil:
		return "root.packages"
	case f.Root.Bootstrap != nil:
		return "root.bootstrap"
	}
	return "kernel"
}

// sources lists the sources that there are, in the order of the fields of Root.
func (r Root) sources() (known, found []string) {
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		if v.Field(i).Kind() != reflect.Pointer {
			continue
		}
		name := v.Type().Field(i).Tag.Get("yaml")
		known = append(known, name)
		if !v.Field(i).IsNil() {
			found = append(found, name)
		}
	}
	return known, found
}

func (f *File) validateRoot() error {
	known, found := f.Root.sources()
	switch {
	case len(found) == 0:
		return f.Bad("root", "no source").WithFix("add one of root.%s", strings.Join(known, ", root."))
	case len(found) > 1:
		return f.Bad("root."+found[1], "root.%s is a source already", found[0]).WithFix("keep one of the two")
	}
	if _, err := f.Root.Limits.Bytes(); err != nil {
		return f.Bad("root.limits.size", "%q is not a size", f.Root.Limits.Size).WithFix("write a whole number of MiB, GiB or TiB, for example 4GiB")
	}
	for _, check := range []func() error{f.validatePackages, f.validateBootstrap, f.validateArchive, f.validateDirectory, f.validateScript, f.validateImage} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) validateArchive() error {
	a := f.Root.Archive
	if a == nil {
		return nil
	}
	if a.Path == "" {
		return f.Bad("root.archive.path", "missing").WithFix("name the archive's file")
	}
	switch {
	case a.SHA256 == "":
	case !digestPattern.MatchString(a.SHA256):
		return f.Bad("root.archive.sha256", "%q is not a digest", a.SHA256).WithFix("write 64 lower-case hex digits, as sha256sum prints them")
	case len(f.Architectures) > 1 && strings.Contains(a.Path, "${arch}"):
		return f.Bad("root.archive.sha256", "one digest can't be that of an archive for each architecture").
			WithFix("name one architecture, or leave the digest out: the plan records it")
	}
	return nil
}

func (f *File) validateDirectory() error {
	d := f.Root.Directory
	if d == nil {
		return nil
	}
	if d.Path == "" {
		return f.Bad("root.directory.path", "missing").WithFix("name the folder")
	}
	for i, o := range d.Owners {
		if o.Path == "" {
			return f.Bad(fmt.Sprintf("root.directory.owners[%d].path", i), "missing").WithFix("name a path in the root; / is the root itself")
		}
	}
	return nil
}

func (f *File) validateScript() error {
	s := f.Root.Script
	if s == nil {
		return nil
	}
	if s.Path == "" {
		return f.Bad("root.script.path", "missing").WithFix("name the script's file")
	}
	if _, err := s.TimeLimit(); err != nil {
		return f.Bad("root.script.timeout", "%q is not a time", s.Timeout).WithFix("write hours, minutes or seconds, for example 30m")
	}
	if s.Output != OutputTar && s.Output != OutputRoot {
		return f.Bad("root.script.output", "%q is unknown", s.Output).WithFix("use %s or %s", OutputTar, OutputRoot)
	}
	return nil
}

// ResolveFor returns a path of the definition, with ${arch} replaced, as one
// that can be opened.
func (f *File) ResolveFor(a arch.Arch, path string) string {
	return f.Resolve(filepath.FromSlash(f.Expand(path, a)))
}
