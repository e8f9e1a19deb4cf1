package deb

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/control"
	"github.com/powernode/bootsmith/builder/tree"
)

// ListingVersion is the version of the format of Marshal, and of what Read
// makes of a .deb file: raise it when either changes.
const ListingVersion = 1

// Marshal writes the package as text, to be kept in a cache: a line with the
// format's version and the SHA-256 of the rest, then one line for each control
// field (c), control file (f) and entry (e), of fields separated by tabs.
// Strings are quoted as in Go, so that any bytes survive.
func (p *Package) Marshal() []byte {
	var b bytes.Buffer
	for _, f := range p.Control {
		fmt.Fprintf(&b, "c\t%q\t%q\n", f.Name, f.Value)
	}
	for _, f := range p.Files {
		fmt.Fprintf(&b, "f\t%q\t%o\t%q\n", f.Name, f.Mode, f.Data)
	}
	for i := range p.Entries {
		marshalEntry(&b, &p.Entries[i])
	}
	sum := sha256.Sum256(b.Bytes())
	return append(fmt.Appendf(nil, "bootsmith-deb %d %x\n", ListingVersion, sum), b.Bytes()...)
}

func marshalEntry(b *bytes.Buffer, e *Entry) {
	n := &e.Inode
	fmt.Fprintf(b, "e\t%q\t%q\t%o\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%x\t%x\t%q\t%q\t%s",
		e.Path, e.Link, n.Mode, n.UID, n.GID, n.Mtime, n.MtimeNsec, n.Major, n.Minor, n.Size,
		n.Content.SHA256, n.Content.Verity, n.Content.Inline, n.Target, e.MD5)
	names := make([]string, 0, len(n.Xattrs))
	for name := range n.Xattrs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(b, "\t%q\t%q", name, n.Xattrs[name])
	}
	b.WriteByte('\n')
}

// Unmarshal reads what Marshal wrote.
func Unmarshal(data []byte) (*Package, error) {
	head, rest, _ := strings.Cut(string(data), "\n")
	sum := sha256.Sum256([]byte(rest))
	if head != fmt.Sprintf("bootsmith-deb %d %x", ListingVersion, sum) {
		return nil, errors.New("reading a listing: of another version, or damaged")
	}
	p := &Package{}
	for line := range strings.Lines(rest) {
		if err := p.unmarshalLine(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("reading a listing: line %.80q: %w", line, err)
		}
	}
	return p, nil
}

func (p *Package) unmarshalLine(line string) error {
	f := &fields{rest: line}
	switch kind := f.word(); kind {
	case "c":
		p.Control = append(p.Control, control.Field{Name: f.text(), Value: f.text()})
	case "f":
		p.Files = append(p.Files, File{Name: f.text(), Mode: uint32(f.number(8, 32)), Data: f.text()})
	case "e":
		p.Entries = append(p.Entries, f.entry())
	default:
		return fmt.Errorf("unknown kind %q", kind)
	}
	if f.rest != "" {
		return errors.New("too many fields")
	}
	return f.err
}

// fields takes a line apart; the first error sticks.
type fields struct {
	rest string
	err  error
}

func (f *fields) entry() Entry {
	e := Entry{Entry: source.Entry{Path: f.text(), Link: f.text()}}
	n := &e.Inode
	n.Mode = uint32(f.number(8, 32))
	n.UID, n.GID = uint32(f.number(10, 32)), uint32(f.number(10, 32))
	n.Mtime = f.signed()
	n.MtimeNsec = uint32(f.number(10, 32))
	n.Major, n.Minor = uint32(f.number(10, 32)), uint32(f.number(10, 32))
	n.Size = f.signed()
	n.Content.SHA256, n.Content.Verity = f.digest(), f.digest()
	inline := f.text()
	if n.IsRegular() && n.Size <= tree.InlineMax {
		n.Content.Inline = []byte(inline)
	}
	n.Target = f.text()
	e.MD5 = f.word()
	for f.rest != "" && f.err == nil {
		if n.Xattrs == nil {
			n.Xattrs = map[string]string{}
		}
		name := f.text()
		n.Xattrs[name] = f.text()
	}
	return e
}

func (f *fields) word() string {
	var w string
	w, f.rest, _ = strings.Cut(f.rest, "\t")
	return w
}

func (f *fields) text() string {
	s, err := strconv.Unquote(f.word())
	f.err = errors.Join(f.err, err)
	return s
}

func (f *fields) number(base, bits int) uint64 {
	n, err := strconv.ParseUint(f.word(), base, bits)
	f.err = errors.Join(f.err, err)
	return n
}

func (f *fields) signed() int64 {
	n, err := strconv.ParseInt(f.word(), 10, 64)
	f.err = errors.Join(f.err, err)
	return n
}

func (f *fields) digest() tree.Digest {
	var d tree.Digest
	raw, err := hex.DecodeString(f.word())
	if err == nil && copy(d[:], raw) != len(d) {
		err = errors.New("a digest is too short")
	}
	f.err = errors.Join(f.err, err)
	return d
}
