// Package archive reads a root from a tar archive: plain, or compressed with
// gzip, xz or zstd. Owners, modes, times, hard links, devices and extended
// attributes (PAX records SCHILY.xattr) are taken as they are.
package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// xzWorkers is how many blocks of an .xz archive are decoded at a time.
const xzWorkers = 4

// Source is an archive on disk.
type Source struct {
	// Path is the archive's file.
	Path string
	// SHA256 is the digest that it must have, in lower-case hex; "": any.
	SHA256 string
	Limits source.Limits
}

// Pin returns the archive's digest, "sha256:<hex>".
func (a Source) Pin(ctx context.Context, _ *store.Store, _ int64) (string, error) {
	f, err := a.open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, source.WithContext(ctx, f)); err != nil {
		return "", fmt.Errorf("reading %q: %w", a.Path, err)
	}
	found := hex.EncodeToString(sum.Sum(nil))
	if a.SHA256 != "" && found != a.SHA256 {
		return "", fault.Inputf("reading %q: its SHA-256 is %s, not %s", a.Path, found, a.SHA256).
			WithFix("restore the archive, or correct root.archive.sha256")
	}
	return "sha256:" + found, nil
}

// Read unpacks the archive, which must still have the digest that Pin returned.
// Contents go into s.
func (a Source) Read(ctx context.Context, s *store.Store, epoch int64, pin string) (*tree.Tree, error) {
	f, err := a.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	in := source.WithContext(ctx, io.TeeReader(f, sum))
	t, readErr := Unpack(ctx, in, s, epoch, a.Limits)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// What Unpack left is hashed, too: a file that has changed is told from a
	// file that was damaged all along.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, fmt.Errorf("reading %q: %w", a.Path, err)
	}
	if found := "sha256:" + hex.EncodeToString(sum.Sum(nil)); found != pin {
		return nil, fault.Inputf("reading %q: the archive has changed since the plan was made: it was %s and is %s", a.Path, pin, found).
			WithFix("build again")
	}
	if readErr != nil {
		return nil, source.Explain(fault.Input, fmt.Errorf("reading %q: %w", a.Path, readErr), "make the archive again, or correct root.archive.path")
	}
	return t, nil
}

func (a Source) open() (*os.File, error) {
	info, err := os.Stat(a.Path) // before opening: opening a fifo would wait
	if err != nil {
		return nil, fault.Inputf("reading the archive: %w", err).WithFix("correct root.archive.path, or put the file there")
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Inputf("reading the archive %q: it is not a file", a.Path).WithFix("correct root.archive.path")
	}
	f, err := os.Open(a.Path)
	if err != nil {
		return nil, fault.Inputf("reading the archive: %w", err)
	}
	return f, nil
}

// Unpack reads a tar stream, compressed or not, into a new tree. epoch is the
// modification time, in seconds since 1970, of the root directory when the
// archive doesn't list it. An archive without the two blocks of zeros that end
// one (POSIX.1, pax, "ustar Interchange Format") is an error: it was cut off.
func Unpack(ctx context.Context, r io.Reader, s *store.Store, epoch int64, limits source.Limits) (*tree.Tree, error) {
	z, err := Decompress(r, xzWorkers)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	t := tree.New(epoch)
	end := &zeroTail{r: z}
	err = source.Tar{Limits: limits}.Scan(ctx, end, s, func(e source.Entry) error {
		return source.Put(t, e, source.Files)
	})
	if err != nil {
		return nil, err
	}
	if end.zeros < endMark {
		return nil, errors.New("the tar archive has no end mark: it was cut off, or is no tar archive")
	}
	return t, nil
}

// endMark is the size in bytes of the two blocks that end a tar archive.
const endMark = 1024

// zeroTail counts the zero bytes at the end of what was read.
type zeroTail struct {
	r     io.Reader
	zeros int64
}

func (z *zeroTail) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	i := n
	for i > 0 && p[i-1] == 0 {
		i--
	}
	if i > 0 {
		z.zeros = 0
	}
	z.zeros += int64(n - i)
	return n, err
}
