package families

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/powernode/bootsmith/arch"
)

// Prover is a family that can tell from its files which root they hold.
type Prover interface {
	Family
	// Prove opens the family's files in dir, which lies beside the folders of
	// the other families, and computes the digests of the root that they hold.
	// Where a file names a digest that its root does not have, or two files
	// disagree, it returns an error with both digests and the place.
	Prove(ctx context.Context, dir string, a arch.Arch) (Proof, error)
}

// Proof is what an artifact's bytes say about its root.
type Proof struct {
	// RootDigest is the fs-verity digest of root.cfs, RootHash the dm-verity
	// root hash of root.img; both in hex.
	RootDigest, RootHash string
	// Evidence tells what was read, and what of it was computed, in order.
	Evidence []string
}

// note adds to the evidence.
func (p *Proof) note(format string, args ...any) {
	p.Evidence = append(p.Evidence, fmt.Sprintf(format, args...))
}

// openedFile is a file of an artifact that is being read.
type openedFile struct {
	*os.File
	size int64
}

func openFile(elem ...string) (openedFile, error) {
	f, err := os.Open(filepath.Join(elem...))
	if err != nil {
		return openedFile{}, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return openedFile{}, err
	}
	return openedFile{f, info.Size()}, nil
}

// openOnly opens the only file in dir with that extension: its name begins with
// the platform's, which the files don't have to tell.
func openOnly(dir, extension string) (openedFile, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*."+extension))
	if err != nil {
		return openedFile{}, err
	}
	if len(names) != 1 {
		return openedFile{}, fmt.Errorf("looking for the one file *.%s in %q: there are %d", extension, dir, len(names))
	}
	return openFile(names[0])
}

// maxText bounds text files that are read whole, in bytes.
const maxText = 1 << 20

func readText(elem ...string) (string, error) {
	f, err := openFile(elem...)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(data) > maxText {
		err = fmt.Errorf("reading %q: it has more than %d bytes", f.Name(), maxText)
	}
	return string(data), err
}
