package families

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/powernode/bootsmith/arch"
)

// Proven is a family with its proof.
type Proven struct {
	Family string
	Proof
}

// errNoProof is returned for a family that can't tell which root it holds.
var errNoProof = errors.New("the family does not tell which root it holds")

// Cross opens all families in dir, the folder of one architecture, and makes
// sure that all of them hold the same root. It returns the proofs in the order
// of All; jobs is how many families are read at a time.
func Cross(ctx context.Context, dir string, a arch.Arch, jobs int) ([]Proven, error) {
	var found []Family
	for _, f := range All() {
		_, err := os.Stat(filepath.Join(dir, f.Name()))
		if err == nil {
			found = append(found, f)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	proofs := make([]Proven, len(found))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(jobs, 1))
	for i, f := range found {
		g.Go(func() error {
			proof, err := prove(ctx, f, filepath.Join(dir, f.Name()), a)
			proofs[i] = Proven{f.Name(), proof}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return proofs, Agree(a, proofs)
}

func prove(ctx context.Context, f Family, dir string, a arch.Arch) (Proof, error) {
	prover, ok := f.(Prover)
	err := errNoProof
	var proof Proof
	if ok {
		proof, err = prover.Prove(ctx, dir, a)
	}
	if err != nil {
		return proof, fmt.Errorf("proving the root of %s for %s in %q: %w", f.Name(), a.Name, dir, err)
	}
	return proof, nil
}

// Agree returns an error when two proofs for an architecture tell of different
// roots.
func Agree(a arch.Arch, proofs []Proven) error {
	if len(proofs) == 0 {
		return nil
	}
	first := proofs[0]
	for _, p := range proofs[1:] {
		for _, d := range []struct{ name, one, two string }{
			{"root digest", first.RootDigest, p.RootDigest},
			{"root hash", first.RootHash, p.RootHash},
		} {
			if d.one != d.two {
				return fmt.Errorf("comparing the roots for %s: %s has the %s %s, %s has %s", a.Name, first.Family, d.name, d.one, p.Family, d.two)
			}
		}
	}
	return nil
}
