// Package deb reads .deb files (deb(5)) into a listing of their entries, whose
// contents go into the object store, and lays such listings into file trees as
// dpkg does when it unpacks. It runs no maintainer scripts.
package deb

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/control"
	"github.com/powernode/bootsmith/builder/store"
)

// Package is an unpacked .deb file.
type Package struct {
	// Control is the control file's stanza.
	Control control.Stanza
	// Files are the other members of the control archive, in its order.
	Files []File
	// Entries are the members of the data archive, in its order.
	Entries []Entry
}

// File is a member of the control archive: a maintainer script, a list.
type File struct {
	Name string
	Mode uint32 // permission bits
	Data string
}

// Entry is a member of the data archive.
type Entry struct {
	source.Entry
	// MD5 is that of the content, in hexadecimal, for conffiles, and for all
	// files of a package that comes without a list of them; else "".
	MD5 string
}

// Field returns a field of the control stanza, "" when there is none.
func (p *Package) Field(name string) string { return p.Control.Get(name) }

// File returns a member of the control archive, and whether it exists.
func (p *Package) File(name string) (File, bool) {
	for _, f := range p.Files {
		if f.Name == name {
			return f, true
		}
	}
	return File{}, false
}

// Fits tells whether the package is within limits.
func (p *Package) Fits(limits source.Limits) bool {
	limits.Entries -= len(p.Entries)
	for i := range p.Entries {
		limits.Bytes -= p.Entries[i].Inode.Size
	}
	return limits.Entries >= 0 && limits.Bytes >= 0
}

// Conffiles returns the package's configuration files: paths without a leading
// slash.
func (p *Package) Conffiles() []string {
	f, _ := p.File("conffiles")
	var all []string
	for line := range strings.Lines(f.Data) {
		// "remove-on-upgrade /path" names files that are not shipped.
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
			all = append(all, path)
		}
	}
	return all
}

// Read reads a .deb file; contents of its files go into s as they stream by.
// workers is how many blocks of an .xz archive are decompressed at a time; limits
// bound the data archive.
func Read(ctx context.Context, r io.Reader, s *store.Store, workers int, limits source.Limits) (*Package, error) {
	a, err := newArReader(r)
	if err != nil {
		return nil, err
	}
	if err := readFormat(a); err != nil {
		return nil, err
	}
	p := &Package{}
	for {
		name, err := a.next()
		if err != nil {
			return nil, fmt.Errorf("looking for the control and data archives: %w", unexpected(err))
		}
		switch {
		case strings.HasPrefix(name, "_"): // deb(5): to be ignored
		case strings.HasPrefix(name, "control.tar") && p.Control == nil:
			if err := p.readControl(ctx, name, a, workers); err != nil {
				return nil, fmt.Errorf("reading %q: %w", name, err)
			}
		case strings.HasPrefix(name, "data.tar") && p.Control != nil:
			if err := p.readData(ctx, name, a, s, workers, limits); err != nil {
				return nil, fmt.Errorf("reading %q: %w", name, err)
			}
			return p, nil
		default:
			return nil, fmt.Errorf("member %q is unknown or out of order", name)
		}
	}
}

// ReadControl reads a .deb file as far as its control archive: the package that
// it returns has no entries.
func ReadControl(ctx context.Context, r io.Reader) (*Package, error) {
	a, err := newArReader(r)
	if err != nil {
		return nil, err
	}
	if err := readFormat(a); err != nil {
		return nil, err
	}
	for {
		name, err := a.next()
		if err != nil {
			return nil, fmt.Errorf("looking for the control archive: %w", unexpected(err))
		}
		if strings.HasPrefix(name, "_") { // deb(5): to be ignored
			continue
		}
		if !strings.HasPrefix(name, "control.tar") {
			return nil, fmt.Errorf("member %q is unknown or out of order", name)
		}
		p := &Package{}
		if err := p.readControl(ctx, name, a, 1); err != nil {
			return nil, fmt.Errorf("reading %q: %w", name, err)
		}
		return p, nil
	}
}

// readFormat reads the first member, whose text is the format's version.
func readFormat(a *arReader) error {
	name, err := a.next()
	if err != nil {
		return unexpected(err)
	}
	version, err := io.ReadAll(io.LimitReader(a, 64))
	if err != nil {
		return err
	}
	if name != "debian-binary" || !strings.HasPrefix(string(version), "2.") {
		return errors.New("not a .deb file of format 2")
	}
	return nil
}

// readData reads the data archive, after the control archive has told which
// files need an MD5 digest.
func (p *Package) readData(ctx context.Context, name string, a *arReader, s *store.Store, workers int, limits source.Limits) error {
	r, err := decompress(name, a, workers)
	if err != nil {
		return err
	}
	defer r.Close()
	_, listed := p.File("md5sums")
	wanted := map[string]bool{}
	for _, path := range p.Conffiles() {
		wanted[path] = true
	}
	var sum hash.Hash
	scan := source.Tar{
		Limits: limits,
		Tee: func(path string) io.Writer {
			if sum = nil; !listed || wanted[path] {
				sum = md5.New() // dpkg's database knows no other digest
				return sum
			}
			return nil
		},
	}
	seen := map[string]bool{}
	return scan.Scan(ctx, r, s, func(e source.Entry) error {
		if e.Link != "" && !seen[e.Link] {
			return fmt.Errorf("reading %q: it is a hard link to %q, which doesn't come before it", e.Path, e.Link)
		}
		if _, again := seen[e.Path]; again && (e.Link != "" || !e.Inode.IsDir()) {
			return fmt.Errorf("reading %q: the archive has it twice", e.Path)
		}
		seen[e.Path] = e.Link != "" || e.Inode.IsRegular()
		entry := Entry{Entry: e}
		if sum != nil {
			entry.MD5 = hex.EncodeToString(sum.Sum(nil))
			sum = nil
		}
		p.Entries = append(p.Entries, entry)
		return nil
	})
}
