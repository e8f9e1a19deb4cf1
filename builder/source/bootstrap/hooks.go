package bootstrap

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/powernode/bootsmith/builder/fault"
)

// Hook is a program that runs at a stage of the bootstrap (mmdebstrap(1)): setup,
// before anything is installed; extract, when the essential packages are
// unpacked; essential, when they are installed; customize, at the end.
type Hook struct {
	Stage string
	// Path is the program's file, Field the definition's field that names it.
	Path, Field string
}

// maxHook bounds a hook's file, in bytes.
const maxHook = 64 << 20

//go:embed prepare.sh
var prepare []byte

// read returns the hook's bytes.
func (h Hook) read() ([]byte, error) {
	info, err := os.Stat(h.Path)
	switch {
	case err != nil:
		return nil, fault.Inputf("reading a hook: %w", err).WithFix("correct %s", h.Field)
	case !info.Mode().IsRegular():
		return nil, fault.Inputf("reading the hook %q: it is not a file", h.Path).WithFix("correct %s", h.Field)
	case info.Mode()&0o111 == 0:
		return nil, fault.Inputf("reading the hook %q: it is not executable", h.Path).WithFix("run chmod +x on it")
	case info.Size() > maxHook:
		return nil, fault.Inputf("reading the hook %q: it is larger than %d bytes", h.Path, maxHook).WithFix("correct %s", h.Field)
	}
	data, err := os.ReadFile(h.Path)
	if err != nil {
		return nil, fault.Inputf("reading a hook: %w", err)
	}
	return data, nil
}

// script is a hook's stage and bytes.
type script struct {
	stage string
	data  []byte
}

// readHooks returns the hooks, ours first, and the digest of all.
func (b Source) readHooks() ([]script, string, error) {
	scripts := []script{{"setup", prepare}}
	for _, h := range b.Hooks {
		data, err := h.read()
		if err != nil {
			return nil, "", err
		}
		scripts = append(scripts, script{h.Stage, data})
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "bootstrap %d\n", formatVersion)
	for _, x := range scripts {
		fmt.Fprintf(sum, "%s %x\n", x.stage, sha256.Sum256(x.data))
	}
	return scripts, "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// writeHooks writes the hooks to where the namespace's users can run them, and
// returns mmdebstrap's arguments for them.
func writeHooks(dir string, scripts []script) ([]string, error) {
	var args []string
	for i, x := range scripts {
		path := filepath.Join(dir, fmt.Sprintf("hook-%d-%s", i, x.stage))
		if err := writeShared(path, bytes.NewReader(x.data), 0o755); err != nil {
			return nil, err
		}
		args = append(args, "--"+x.stage+"-hook="+path)
	}
	return args, nil
}
