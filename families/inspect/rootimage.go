package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/internal/gpt"
	"github.com/powernode/bootsmith/families/internal/iso"
	"github.com/powernode/bootsmith/families/internal/mbr"
	"github.com/powernode/bootsmith/families/internal/ocilayout"
	"github.com/powernode/bootsmith/families/internal/qcow2"
)

// Root is the root that an artifact holds.
type Root struct {
	// From is the artifact's path below the architecture's folder.
	From string
	Tree *tree.Tree
	// Open opens a content; of an image's layers, only what was asked for.
	Open func(tree.Content) (io.ReadCloser, error)
	// Close closes the artifact.
	Close func() error
}

// rootPlace is a kind of artifact and the way to the root in it.
type rootPlace struct {
	pattern string // below the architecture's folder
	find    func(source, arch.Arch) (source, error)
}

// rootPlaces are in the order of how quickly they are read.
func rootPlaces() []rootPlace {
	return []rootPlace{
		{"kernel-initrd/root.img", func(s source, _ arch.Arch) (source, error) { return s, nil }},
		{"raw/*.img", rootPartition},
		{"iso/*.iso", rootFile},
		{"disk-image-rpi4/*.img", rootMBRPartition},
		{"qcow2/*.qcow2", func(s source, a arch.Arch) (source, error) {
			disk, err := qcow2.OpenImage(s, s.size)
			if err != nil {
				return source{}, err
			}
			return rootPartition(newSource(disk, 0, disk.Size()), a)
		}},
	}
}

// OpenRoot reads the root's files from the first artifact that tells them, of
// the folder of an architecture that build wrote: a root image, or the layers
// of an image, of which the small files that keep asks for can be opened. That
// there is none is an error that matches fs.ErrNotExist.
func OpenRoot(ctx context.Context, dir string, a arch.Arch, keep func(path string) bool) (*Root, error) {
	for _, p := range rootPlaces() {
		names, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(p.pattern)))
		if err != nil || len(names) != 1 {
			continue
		}
		root, err := openRoot(ctx, names[0], p, a)
		if err != nil {
			return nil, fmt.Errorf("reading the root of %q: %w", names[0], err)
		}
		root.From, err = filepath.Rel(dir, names[0])
		return root, err
	}
	layout := filepath.Join(dir, "oci")
	if !exists(filepath.Join(layout, ocilayout.LayoutFile)) {
		return nil, fmt.Errorf("reading the root in %q: no artifact holds one: %w", dir, fs.ErrNotExist)
	}
	t, open, err := ImageRoot(ctx, layout, keep)
	return &Root{From: "oci", Tree: t, Open: open, Close: func() error { return nil }}, err
}

func openRoot(ctx context.Context, name string, p rootPlace, a arch.Arch) (_ *Root, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	image, err := p.find(newSource(f, 0, info.Size()), a)
	if err != nil {
		return nil, err
	}
	root, err := composefs.ReadRoot(ctx, image, image.size)
	if err != nil {
		return nil, err
	}
	return &Root{Tree: root.Tree, Open: root.Open, Close: f.Close}, nil
}

// rootPartition finds the root in a disk with a GPT.
func rootPartition(s source, a arch.Arch) (source, error) {
	disk, err := gpt.Read(s, s.size)
	if err != nil {
		return source{}, err
	}
	for _, p := range disk.Partitions {
		if p.Type == a.RootType {
			return newSource(s, p.Start*gpt.SectorSize, p.Sectors*gpt.SectorSize), nil
		}
	}
	return source{}, fmt.Errorf("looking for the root partition for %s: %w", a.Name, fs.ErrNotExist)
}

// rootMBRPartition finds the root in a disk with a master boot record.
func rootMBRPartition(s source, _ arch.Arch) (source, error) {
	partitions, err := mbr.Read(s, s.size)
	if err != nil {
		return source{}, err
	}
	for _, p := range partitions {
		if image := newSource(s, p.Start*mbr.SectorSize, p.Sectors*mbr.SectorSize); isEROFS(image) {
			return image, nil
		}
	}
	return source{}, fmt.Errorf("looking for the root partition: %w", fs.ErrNotExist)
}

// rootFile finds the root in a volume.
func rootFile(s source, _ arch.Arch) (source, error) {
	volume, err := iso.OpenImage(s, s.size)
	if err != nil {
		return source{}, err
	}
	f, err := volume.OpenFile("root.img")
	if err != nil {
		return source{}, err
	}
	return newSource(f, 0, f.Size()), nil
}
