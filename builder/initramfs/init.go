package initramfs

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

// binaries holds the static init of each architecture, bin/init-<name>, as
// `make init` builds them from cmd/bootsmith-init.
//
//go:embed all:bin
var binaries embed.FS

// InitFor returns the init program for an architecture, a static ELF file. A
// program that was built without it gets an error of class fault.Tool.
func InitFor(a arch.Arch) ([]byte, error) { return initFrom(binaries, a) }

func initFrom(fsys fs.FS, a arch.Arch) ([]byte, error) {
	data, err := fs.ReadFile(fsys, "bin/init-"+a.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Toolf("finding the init program for %q: this program was built without it", a.Name).
			WithFix("run `make init` and build it again")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the init program for %q: %w", a.Name, err)
	}
	return data, nil
}
