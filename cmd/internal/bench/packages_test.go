//go:build bench

package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// packages compares the packages source with mmdebstrap's variant that unpacks
// only: from a mirror on loopback, through signatures and dependencies, to files
// on disk.
func (b *bench) packages(t *testing.T) []Comparison {
	include := append([]string{"linux-image-" + architecture}, b.include...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []Comparison{b.compare(t, Comparison{
		Title: "unpack the server's packages and kernel",
		Ours: &Contender{
			Name:    "source `packages`",
			Prepare: func(context.Context) error { return b.clear("packages") },
			Command: func(ctx context.Context) *exec.Cmd {
				cmd := exec.CommandContext(ctx, self)
				cmd.Env = append(os.Environ(), packagesVariable+"="+strings.Join(append([]string{b.mirror, b.path("packages")}, include...), " "))
				return cmd
			},
			Output: b.size("packages/objects"),
		},
		Other: &Contender{
			Name:    b.version(t, "mmdebstrap"),
			Prepare: func(context.Context) error { return b.clear("work/extract") },
			Command: func(ctx context.Context) *exec.Cmd {
				return b.room.Command(ctx, "/bench", "mmdebstrap", "--quiet", "--variant=extract", "--mode=root",
					"--include="+strings.Join(include, ","), suite, "extract", b.mirror)
			},
			Output: b.size("work/extract"),
		},
	})}
}

// packagesVariable has this program do what unpackPackages does: it holds the
// mirror, a folder and the packages.
const packagesVariable = "BOOTSMITH_BENCH_PACKAGES"

// unpackPackages resolves, fetches and unpacks packages as a build does.
func unpackPackages() error {
	words := strings.Fields(os.Getenv(packagesVariable))
	if len(words) < 3 {
		return fmt.Errorf("%s holds no packages", packagesVariable)
	}
	row, err := arch.Lookup(architecture)
	if err != nil {
		return err
	}
	s, err := store.Open(filepath.Join(words[1], "objects"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	a := &apt.Archive{Mirror: words[0], Suite: suite, Arch: row, CacheDir: words[1], Client: http.DefaultClient, Now: time.Now, Joint: new(singleflight.Group)}
	found, err := a.Resolve(ctx, words[2:])
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Fetch(ctx, found.Packages, func(int64, int64) {}) })
	g.Go(func() error { return a.UnpackRoot(ctx, tree.New(0), s, found.Packages, 0) })
	if err := g.Wait(); err != nil {
		return err
	}
	fmt.Println(len(found.Packages), "packages")
	return nil
}
