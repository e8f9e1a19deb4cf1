package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/overlay"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/archive"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families"
)

// Bounds of an archive with firmware: the maker's has 700 files of 300 MB.
const (
	maxFirmwareFiles = 10_000
	maxFirmwareBytes = 2 << 30
)

// firmwareMark is the file beside which the rest of the firmware lies.
const firmwareMark = "start4.elf"

// loadFirmware reads the Raspberry Pi's firmware from a folder or a tar
// archive; in both it may lie in a folder of its own.
func loadFirmware(ctx context.Context, name string, s *store.Store) (overlay.Overlay, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fault.Inputf("reading the firmware: %w", err).WithFix("correct rpi4.firmware")
	}
	var o overlay.Overlay
	if info.IsDir() {
		o, err = overlay.Load(ctx, name, s)
	} else {
		o, err = loadFirmwareArchive(ctx, name, s)
	}
	if err != nil {
		return nil, fault.Default(fault.Input, fmt.Errorf("reading the firmware %q: %w", name, err))
	}
	return belowMark(name, o)
}

func loadFirmwareArchive(ctx context.Context, name string, s *store.Store) (overlay.Overlay, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := archive.Unpack(ctx, f, s, 0, source.Limits{Entries: maxFirmwareFiles, Bytes: maxFirmwareBytes})
	if err != nil {
		return nil, err
	}
	var o overlay.Overlay
	err = t.Walk(func(p string, n *tree.Node) error {
		i := n.Inode
		if p != "" {
			o = append(o, overlay.Entry{Path: p, Inode: tree.Inode{Mode: i.Type() | 0o644, Size: i.Size, Content: i.Content, Target: i.Target}})
		}
		return nil
	})
	return o, err
}

// belowMark returns the files in the folder with the mark, relative to it.
func belowMark(name string, o overlay.Overlay) (overlay.Overlay, error) {
	var marks []string
	for _, e := range o {
		if path.Base(e.Path) == firmwareMark && e.Inode.IsRegular() {
			marks = append(marks, e.Path)
		}
	}
	if len(marks) != 1 {
		return nil, fault.Inputf("reading the firmware %q: it holds %d files %s, and not one", name, len(marks), firmwareMark).
			WithFix("name the folder or archive with the Raspberry Pi's boot files")
	}
	prefix := strings.TrimSuffix(marks[0], firmwareMark)
	var below overlay.Overlay
	for _, e := range o {
		if rest, ok := strings.CutPrefix(e.Path, prefix); ok && rest != "" {
			e.Path = rest
			below = append(below, e)
		}
	}
	return below, nil
}

// rpi4Input returns what the family for the Raspberry Pi 4 takes: the firmware
// and the kernel's device tree, which Debian has beside the modules.
func (b *targetBuild) rpi4Input(ctx context.Context, boot *tree.Tree, version string) (families.RPi4, error) {
	firmware, err := loadFirmware(ctx, b.file.Resolve(b.file.RPi4.Firmware), b.config.Store)
	if err != nil {
		return families.RPi4{}, err
	}
	if firmware.Digest() != b.plan.Boot.RPi4.FirmwareDigest {
		return families.RPi4{}, fmt.Errorf("reading the firmware: it has changed since the plan was made")
	}
	dir := filepath.Join(b.scratch, "rpi4")
	in := families.RPi4{Config: b.plan.Boot.RPi4.Config}
	if in.Firmware, err = b.writeFiles(firmware, dir); err != nil {
		return families.RPi4{}, err
	}
	const name = "bcm2711-rpi-4-b.dtb"
	n, err := boot.Resolve("usr/lib/linux-image-" + version + "/broadcom/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return in, nil
	}
	if err != nil || !n.Inode.IsRegular() {
		return families.RPi4{}, errors.Join(fmt.Errorf("finding the kernel's device tree %s", name), err)
	}
	trees, err := b.writeFiles(overlay.Overlay{{Path: name, Inode: *n.Inode}}, filepath.Join(b.scratch, "rpi4-kernel"))
	if err != nil {
		return families.RPi4{}, err
	}
	in.DeviceTree = trees[0].Blob
	return in, nil
}
