// Package initramfs writes initramfs archives: cpio archives in the newc format
// (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).
//
// The same input gives the same bytes: entries are sorted, owned by root,
// numbered from 1 and carry one time stamp.
package initramfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/powernode/bootsmith/builder/kernel"
)

// ModuleList is the file that names the modules, one path a line, in the order
// in which init loads them.
const ModuleList = "lib/bootsmith/modules"

// Input is what goes into an initramfs.
type Input struct {
	// Init is the program that the kernel starts, /init.
	Init []byte
	// Modules are the kernel's modules in load order, and Contents opens them.
	// They stay as they are shipped, compressed: the kernel decompresses and
	// checks signatures itself.
	Modules  []kernel.Module
	Contents kernel.Opener
	// Extra are further files and symbolic links.
	Extra []File
	// Epoch is the time stamp of every entry.
	Epoch time.Time
}

// Write writes initramfs.cpio.zst, one zstd frame around one archive: Linux
// stops at the end of the first frame (lib/decompress_unzstd.c). The length is a
// multiple of 512 bytes.
func Write(ctx context.Context, w io.Writer, in Input) error {
	files, err := in.files()
	if err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	z, err := newFrame(w)
	if err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	if err := writeArchive(ctx, z, files, in.Epoch); err != nil {
		z.Close()
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	return nil
}

// files returns all entries, sorted, with every parent directory.
func (in Input) files() ([]File, error) {
	if len(in.Init) == 0 {
		return nil, errors.New("adding \"init\": the program is empty")
	}
	set := newFileSet()
	// Mount points that init needs before it can make any itself.
	for _, dir := range []string{"dev", "proc", "run", "sys"} {
		set.addDir(dir)
	}
	// Without a console the kernel starts init with no open files, and a Go
	// program then needs a /dev/null before devtmpfs is mounted.
	if err := set.add(bytesFile("dev/null", 0o666, nil)); err != nil {
		return nil, err
	}
	if err := set.add(bytesFile("init", 0o755, in.Init)); err != nil {
		return nil, err
	}
	var list strings.Builder
	for _, m := range in.Modules {
		fmt.Fprintf(&list, "/%s\n", m.Path)
		if err := set.add(in.module(m)); err != nil {
			return nil, err
		}
	}
	if err := set.add(bytesFile(ModuleList, 0o644, []byte(list.String()))); err != nil {
		return nil, err
	}
	for _, f := range in.Extra {
		if err := set.add(f); err != nil {
			return nil, err
		}
	}
	return set.sorted()
}

func (in Input) module(m kernel.Module) File {
	return File{Path: m.Path, Mode: 0o644, Size: m.Size, Open: func() (io.ReadCloser, error) {
		return in.Contents.Open(m.Content)
	}}
}

func bytesFile(path string, mode uint32, data []byte) File {
	return File{Path: path, Mode: mode, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}
