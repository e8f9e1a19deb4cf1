package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/powernode/bootsmith/builder/fault"
)

// maxBlob bounds the files that are taken from an archive, in bytes.
const maxBlob = 16 << 30

// blob is a file that is known by its digest.
type blob struct {
	sha256 string // lower-case hexadecimal
	size   int64
}

// check returns an error when the digest or the size can't be one.
func (b blob) check() error {
	raw, err := hex.DecodeString(b.sha256)
	if err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != b.sha256 {
		return fmt.Errorf("digest %q is not a SHA-256", b.sha256)
	}
	if b.size < 0 || b.size > maxBlob {
		return fmt.Errorf("a size of %d bytes is out of range", b.size)
	}
	return nil
}

// blobFile returns where the cache keeps a blob.
func (a *Archive) blobFile(b blob) string {
	return filepath.Join(a.CacheDir, "sha256", b.sha256[:2], b.sha256[2:])
}

// cached tells whether the cache has a file of the blob's name and size.
func (a *Archive) cached(b blob) bool {
	st, err := os.Stat(a.blobFile(b))
	return err == nil && st.Mode().IsRegular() && st.Size() == b.size
}

// openCached opens a blob of the cache after checking all its bytes. A damaged
// one is deleted and counts as missing: an error that matches fs.ErrNotExist.
func (a *Archive) openCached(b blob) (*os.File, error) {
	name := a.blobFile(b)
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err == nil && (n != b.size || hex.EncodeToString(h.Sum(nil)) != b.sha256) {
		err = errors.Join(os.Remove(name), fmt.Errorf("reading %q: the cached file is damaged: %w", name, fs.ErrNotExist))
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// open returns a blob, checked, from the cache or else from the first of the
// archive's paths that has it.
func (a *Archive) open(ctx context.Context, b blob, paths ...string) (*os.File, error) {
	f, err := a.openCached(b)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := a.download(ctx, b, nil, paths...); err != nil {
		return nil, err
	}
	return a.openCached(b)
}

// download brings a blob into the cache. It reports the bytes as they arrive; a
// negative number takes back those of a failed attempt. Where somebody else is
// downloading it, it waits for that, and reports all bytes at the end.
func (a *Archive) download(ctx context.Context, b blob, report func(int64), paths ...string) error {
	if a.Joint == nil {
		return a.downloadAlone(ctx, b, report, paths...)
	}
	alone := false
	_, err, _ := a.Joint.Do(fmt.Sprintf("download %q %q %v", a.CacheDir, a.Mirror, b), func() (any, error) {
		if a.cached(b) { // since the caller looked
			return nil, nil
		}
		alone = true
		return nil, a.downloadAlone(ctx, b, report, paths...)
	})
	if err == nil && !alone && report != nil {
		report(b.size)
	}
	return err
}

func (a *Archive) downloadAlone(ctx context.Context, b blob, report func(int64), paths ...string) error {
	if a.Offline {
		return fault.Inputf("reading %q of %q: offline, and it is not in the cache", paths[len(paths)-1], a.Mirror).
			WithFix("build once with the network, or run bootsmith lock --fetch")
	}
	var err error
	for _, p := range paths {
		err = a.transfer(ctx, p, func(body io.Reader) error { return a.keep(b, body, report) })
		if err == nil || ctx.Err() != nil {
			return err
		}
		// A mirror in the middle of an update may have the file under
		// another path.
	}
	return err
}

// errWrongBytes tells of a file that isn't what the release says.
var errWrongBytes = errors.New("size or SHA-256 differ from what the lock or the archive's signed index says")

// keep writes a blob into the cache, if it is the right one.
func (a *Archive) keep(b blob, r io.Reader, report func(int64)) error {
	name := a.blobFile(b)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	h := sha256.New()
	w := &reportingWriter{w: io.MultiWriter(f, h), report: report}
	_, err = io.Copy(w, io.LimitReader(r, b.size+1))
	if err == nil && (w.n != b.size || hex.EncodeToString(h.Sum(nil)) != b.sha256) {
		err = errWrongBytes
	}
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil && report != nil {
		report(-w.n)
	}
	return err
}

// reportingWriter counts and reports what is written.
type reportingWriter struct {
	w      io.Writer
	report func(int64)
	n      int64
}

func (w *reportingWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.n += int64(n)
	if w.report != nil {
		w.report(int64(n))
	}
	return n, err
}

// writeFile writes a small file at once: readers see the old or the new one.
func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
