package apt

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/control"
	"github.com/powernode/bootsmith/builder/source/unxz"
)

// maxIndex bounds a decompressed Packages file, in bytes; the largest today
// has 80 MB.
const maxIndex = 1 << 30

// indexFile is a Packages file that a release names.
type indexFile struct {
	blob
	path string // below dists/<suite>
}

// indexFiles returns the Packages files for an architecture, one or two (with
// the packages for all architectures) for each component.
func (a *Archive) indexFiles(r *release) ([]indexFile, error) {
	var all []indexFile
	for _, c := range a.components() {
		own, ok := r.packages(c, a.Arch.Name)
		if !ok {
			return nil, fault.Inputf("reading suite %q: the release of %q names no packages of component %q for %s", a.Suite, a.Mirror, c, a.Arch.Name)
		}
		all = append(all, own)
		if !r.noAll && slices.Contains(r.architectures, "all") {
			if f, ok := r.packages(c, "all"); ok {
				all = append(all, f)
			}
		}
	}
	return all, nil
}

// packages returns the best form of a Packages file.
func (r *release) packages(component, arch string) (indexFile, bool) {
	for _, ext := range []string{".xz", ".gz", ""} {
		p := component + "/binary-" + arch + "/Packages" + ext
		if b, ok := r.files[p]; ok {
			return indexFile{b, p}, true
		}
	}
	return indexFile{}, false
}

// entry is what an index says of a package: the fields that are needed to
// choose and download it, unparsed.
type entry struct {
	name, version, arch, priority string
	essential                     string
	repository                    int // as in Package
	file, sha256, size            string
	preDepends, depends           string
	provides, conflicts, breaks   string
	nextVersion                   *entry // of the same name, as found
}

// index holds the packages of one architecture.
type index struct {
	repository int                   // that is being read
	byName     map[string]*entry     // lists by nextVersion, in index order
	providers  map[string][]provider // nil until somebody asks
}

// loadIndex downloads and reads the index files.
func loadIndex(ctx context.Context, suites []suite) (*index, error) {
	ix := &index{byName: make(map[string]*entry, 1<<16)}
	for n, s := range suites {
		ix.repository = n
		for _, f := range s.files {
			if err := s.archive.loadIndexFile(ctx, s.release, f, ix); err != nil {
				return nil, err
			}
		}
	}
	return ix, nil
}

func (a *Archive) loadIndexFile(ctx context.Context, r *release, f indexFile, ix *index) error {
	base := "dists/" + a.Suite + "/"
	paths := []string{base + f.path}
	if r.byHash {
		dir := f.path[:strings.LastIndexByte(f.path, '/')]
		paths = []string{base + dir + "/by-hash/SHA256/" + f.sha256, base + f.path}
	}
	file, err := a.open(ctx, f.blob, paths...)
	if err != nil {
		return indexError(err)
	}
	defer file.Close()
	if err := ix.readCompressed(file, f.path, a.jobs()); err != nil {
		return fmt.Errorf("reading %q of suite %q: %w", f.path, a.Suite, err)
	}
	return nil
}

// indexError explains the errors of a mirror that isn't consistent.
func indexError(err error) error {
	if errors.Is(err, errWrongBytes) || errors.Is(err, fs.ErrNotExist) {
		return fault.Buildf("%w", err).WithFix("try again later: the mirror may be updating; or choose another mirror")
	}
	return err
}

func (ix *index) readCompressed(file *os.File, name string, jobs int) error {
	var r io.Reader = file
	switch {
	case strings.HasSuffix(name, ".xz"):
		// Two blocks at a time: more would only fill memory.
		z := unxz.NewReader(file, min(jobs, 2))
		defer z.Close()
		r = z
	case strings.HasSuffix(name, ".gz"):
		z, err := gzip.NewReader(file)
		if err != nil {
			return err
		}
		r = z
	}
	limited := &io.LimitedReader{R: r, N: maxIndex}
	err := ix.read(limited)
	if err == nil && limited.N == 0 {
		err = fmt.Errorf("longer than %d bytes", int64(maxIndex))
	}
	return err
}

// read adds the stanzas of a Packages file. Of each, the wanted fields are
// copied once, into one string.
func (ix *index) read(r io.Reader) error {
	s := control.NewScanner(r)
	var (
		text []byte
		e    entry
		ends [16]int
	)
	targets := []*string{
		&e.name, &e.version, &e.arch, &e.priority, &e.file, &e.sha256, &e.size,
		&e.preDepends, &e.depends, &e.provides, &e.conflicts, &e.breaks, &e.essential,
	}
	for s.Stanza() {
		text = text[:0]
		var starts [16]int
		ends = [16]int{}
		for s.Field() {
			i := fieldNumber(s.Name())
			if i < 0 {
				continue
			}
			starts[i] = len(text)
			text = append(text, s.Value()...)
			ends[i] = len(text)
		}
		all := string(text)
		for i, t := range targets {
			*t = all[starts[i]:ends[i]]
		}
		e.repository = ix.repository
		ix.add(e)
	}
	return s.Err()
}

// fieldNumber returns a field's place among read's targets.
func fieldNumber(name []byte) int {
	switch string(name) {
	case "Package":
		return 0
	case "Version":
		return 1
	case "Architecture":
		return 2
	case "Priority":
		return 3
	case "Filename":
		return 4
	case "SHA256":
		return 5
	case "Size":
		return 6
	case "Pre-Depends":
		return 7
	case "Depends":
		return 8
	case "Provides":
		return 9
	case "Conflicts":
		return 10
	case "Breaks":
		return 11
	case "Essential":
		return 12
	}
	return -1
}

func (ix *index) add(e entry) {
	first := ix.byName[e.name]
	if first == nil {
		ix.byName[e.name] = &e
		return
	}
	for at := first; ; at = at.nextVersion {
		if at.version == e.version && at.arch == e.arch {
			return // the same in an earlier component or repository
		}
		if at.nextVersion == nil {
			at.nextVersion = &e
			return
		}
	}
}

// versions returns the packages of a name, the newest first.
func (ix *index) versions(name string) []*entry {
	var all []*entry
	for e := ix.byName[name]; e != nil; e = e.nextVersion {
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b *entry) int { return control.CompareVersions(b.version, a.version) })
	return all
}

// pkg returns the entry as a Package.
func (e *entry) pkg() (Package, error) {
	p := Package{Name: e.name, Version: e.version, Arch: e.arch, SHA256: e.sha256, PoolPath: e.file, Repository: e.repository}
	size, err := strconv.ParseInt(e.size, 10, 64)
	if err != nil {
		return p, fmt.Errorf("reading package %q: size %q", e.name, e.size)
	}
	p.Size = size
	return p, p.Check()
}

// Check returns an error when a package's facts can't be right; they come from
// an index or a lock.
func (p Package) Check() error {
	if !control.ValidName(p.Name) || !control.ValidName(p.Arch) || !fs.ValidPath(p.PoolPath) || p.PoolPath == "." {
		return fmt.Errorf("reading package %q for %q at %q: malformed", p.Name, p.Arch, p.PoolPath)
	}
	if err := control.CheckVersion(p.Version); err != nil {
		return fmt.Errorf("reading package %q: %w", p.Name, err)
	}
	if err := p.blob().check(); err != nil {
		return fmt.Errorf("reading package %q: %w", p.Name, err)
	}
	return nil
}

func (p Package) blob() blob { return blob{sha256: p.SHA256, size: p.Size} }
