package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/tree"
)

// maxBuiltin bounds modules.builtin, in bytes; distributions' have 10 to 30 KB.
const maxBuiltin = 4 << 20

// Module is a module to load.
type Module struct {
	// Name is the canonical name, with underscores.
	Name string
	// Path is the file's place in an initramfs, without a leading slash:
	// "lib/modules/<version>/kernel/fs/erofs/erofs.ko.xz".
	Path string
	// Content names the bytes as shipped, compressed or not; Size counts them.
	Content tree.Content
	Size    int64
}

// NoModuleError tells of a required module that a kernel doesn't have.
type NoModuleError struct{ Module, Version string }

// Error implements error.
func (e *NoModuleError) Error() string {
	return fmt.Sprintf("finding module %q: kernel %q has no module of that name, and it isn't built in", e.Module, e.Version)
}

// Modules returns the wanted modules and everything that they depend on, in an
// order in which they can be loaded one after the other. What is built into the
// kernel needs no loading and is left out. A required module that the kernel
// doesn't have is an error of class fault.Input, a NoModuleError.
func (k Kernel) Modules(ctx context.Context, contents Opener, wanted Wanted) ([]Module, error) {
	builtin, err := k.builtin(contents)
	if err != nil {
		return nil, err
	}
	c := &closure{kernel: k, contents: contents, builtin: builtin, state: map[string]visit{}}
	for _, name := range wanted.Required {
		if !c.has(canonical(name)) {
			return nil, (&fault.Error{Class: fault.Input, Err: &NoModuleError{name, k.Version}}).
				WithFix("choose a kernel package that ships it")
		}
	}
	for _, name := range slices.Concat(wanted.Required, wanted.Optional) {
		if name = canonical(name); !c.has(name) {
			continue
		}
		if err := c.add(ctx, name); err != nil {
			return nil, err
		}
	}
	return c.order, nil
}

// builtin returns the canonical names in modules.builtin, which has a line like
// "kernel/fs/ext4/ext4.ko" for each (Documentation/kbuild/kbuild.rst).
func (k Kernel) builtin(contents Opener) (map[string]bool, error) {
	names := map[string]bool{}
	if k.dir == nil {
		return names, nil
	}
	n := k.dir.Child("modules.builtin")
	if n == nil || !n.Inode.IsRegular() {
		return names, nil
	}
	if n.Inode.Size > maxBuiltin {
		return nil, fault.Inputf("reading modules.builtin of kernel %q: %d bytes are more than %d", k.Version, n.Inode.Size, maxBuiltin)
	}
	r, err := contents.Open(n.Inode.Content)
	if err != nil {
		return nil, fmt.Errorf("reading modules.builtin of kernel %q: %w", k.Version, err)
	}
	defer r.Close()
	lines := bufio.NewScanner(io.LimitReader(r, maxBuiltin))
	for lines.Scan() {
		if name, ok := moduleName(path.Base(strings.TrimSpace(lines.Text()))); ok {
			names[name] = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading modules.builtin of kernel %q: %w", k.Version, err)
	}
	return names, nil
}

type visit int

const (
	unseen visit = iota
	started
	done
)

// closure walks dependencies depth first, so that each module comes after what
// it needs.
type closure struct {
	kernel   Kernel
	contents Opener
	builtin  map[string]bool
	state    map[string]visit
	order    []Module
}

var errCycle = errors.New("modules depend on each other")

func (c *closure) has(name string) bool {
	return c.builtin[name] || c.kernel.modules[name] != nil
}

func (c *closure) add(ctx context.Context, name string) error {
	if c.builtin[name] || c.state[name] == done {
		return nil
	}
	if c.state[name] == started {
		return fmt.Errorf("ordering module %q: %w", name, errCycle)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.state[name] = started
	file := c.kernel.modules[name]
	info, err := readModule(c.contents, file)
	if err != nil {
		return fault.Default(fault.Input, fmt.Errorf("reading module %q: %w", file.path, err))
	}
	if v := info.kernelVersion(); v != "" && v != c.kernel.Version {
		return fault.Inputf("reading module %q: it was built for kernel %q, not for %q", file.path, v, c.kernel.Version)
	}
	if err := c.addAll(ctx, name, info); err != nil {
		return err
	}
	c.state[name] = done
	c.order = append(c.order, Module{
		Name:    name,
		Path:    path.Join("lib/modules", c.kernel.Version, file.path),
		Content: file.inode.Content,
		Size:    file.inode.Size,
	})
	return nil
}

// addAll adds what a module needs: soft dependencies when the kernel has them,
// the others always.
func (c *closure) addAll(ctx context.Context, name string, info modinfo) error {
	for _, soft := range info.softdeps() {
		provider := c.provider(soft)
		if provider == "" || c.state[provider] == started {
			continue
		}
		if err := c.add(ctx, provider); err != nil {
			return err
		}
	}
	for _, dep := range info.depends() {
		if !c.has(dep) {
			return fault.Inputf("finding module %q, which %q depends on: kernel %q has none of that name", dep, name, c.kernel.Version)
		}
		if err := c.add(ctx, dep); err != nil {
			return err
		}
	}
	return nil
}

// provider returns the module for a soft dependency, or "". Besides modules it
// may name a crypto algorithm ("crc32c"), an alias of the modules that implement
// it; the portable one has a suffix to its name, the second since Linux 6.15.
func (c *closure) provider(name string) string {
	for _, suffix := range []string{"", "_generic", "_cryptoapi"} {
		if c.has(name + suffix) {
			return name + suffix
		}
	}
	return ""
}
