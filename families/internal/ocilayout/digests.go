package ocilayout

import (
	"bytes"
	"io"
	"io/fs"

	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

// Digests is a Contents that computes fs-verity digests and forgets the bytes,
// but for those of the small files that Keep asks for.
type Digests struct {
	// Keep tells whether to keep a file's bytes; nil keeps none.
	Keep func(path string) bool
	// Wide computes the digests with SHA-512 as well, for Object.
	Wide bool

	kept map[tree.Digest][]byte
	size int
	wide map[tree.Digest][64]byte
}

// Bounds of what is kept, in bytes: of a file, and in all.
const (
	maxKept    = 1 << 20
	maxAllKept = 64 << 20
)

// Put implements Contents.
func (d *Digests) Put(path string, r io.Reader) (tree.Content, int64, error) {
	verity := fsverity.New()
	head := &headWriter{limit: tree.InlineMax}
	keep := d.Keep != nil && d.Keep(path)
	if keep {
		head.limit = min(maxKept, max(tree.InlineMax, maxAllKept-d.size))
	}
	wide := fsverity.New512()
	writers := []io.Writer{verity, head}
	if d.Wide {
		writers = append(writers, wide)
	}
	size, err := io.Copy(io.MultiWriter(writers...), r)
	if err != nil {
		return tree.Content{}, 0, err
	}
	c := tree.Content{Verity: verity.Sum()}
	if d.Wide && size > tree.InlineMax {
		if d.wide == nil {
			d.wide = map[tree.Digest][64]byte{}
		}
		d.wide[c.Verity] = wide.Sum()
	}
	if size <= tree.InlineMax {
		c.Inline = append([]byte{}, head.Bytes()...)
	} else if keep && size <= int64(head.limit) {
		if d.kept == nil {
			d.kept = map[tree.Digest][]byte{}
		}
		d.kept[c.Verity] = head.Bytes()
		d.size += head.Len()
	}
	return c, size, nil
}

// Object returns the fs-verity digest with SHA-512 of a content of more than
// tree.InlineMax bytes; any that Put did not see is an error that matches
// fs.ErrNotExist.
func (d *Digests) Object(c tree.Content) ([64]byte, error) {
	wide, ok := d.wide[c.Verity]
	if !ok {
		return wide, fs.ErrNotExist
	}
	return wide, nil
}

// Open opens a content that was kept; any other is an error that matches
// fs.ErrNotExist.
func (d *Digests) Open(c tree.Content) (io.ReadCloser, error) {
	data, ok := d.kept[c.Verity]
	if c.Inline != nil {
		data, ok = c.Inline, true
	}
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// headWriter keeps the first bytes, up to one more than limit.
type headWriter struct {
	bytes.Buffer
	limit int
}

func (h *headWriter) Write(p []byte) (int, error) {
	if room := h.limit + 1 - h.Len(); room > 0 {
		h.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
