// Package inspect tells what an artifact is by opening it, whatever its name: a
// disk image, a volume, an EFI program, an archive, a container image. It goes
// into what it finds, so that a disk leads to its partitions and these to their
// files, and it believes nothing that it can compute.
//
// It stands beside the families because it reads their formats, and is not a part
// of them because it knows a file by its bytes alone.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/powernode/bootsmith/builder/fault"
)

// Report is what a file is.
type Report struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Size int64  `json:"size_bytes,omitempty"`
	// Facts are what was read or computed.
	Facts Facts `json:"facts,omitempty"`
	// Parts are what is inside.
	Parts []Report `json:"parts,omitempty"`
}

// set adds a fact unless its value is empty.
func (r *Report) set(name string, value any) {
	if text := fmt.Sprint(value); text != "" {
		r.Facts = append(r.Facts, Fact{name, text})
	}
}

// KindUnknown is the kind of what nobody recognises.
const KindUnknown = "data"

// Path inspects a file, an OCI layout or a folder that build wrote.
func Path(ctx context.Context, path string) (Report, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Report{}, fault.Inputf("inspecting %q: %w", path, err)
	}
	if info.IsDir() {
		return folder(ctx, path)
	}
	return file(ctx, path)
}

func file(ctx context.Context, path string) (Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return Report{}, fault.Inputf("inspecting %q: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Report{}, err
	}
	if !info.Mode().IsRegular() {
		return Report{}, fault.Inputf("inspecting %q: it is not a regular file", path)
	}
	r, err := describe(ctx, newSource(f, 0, info.Size()), filepath.Base(path), 0)
	if err != nil {
		return r, fmt.Errorf("inspecting %q: %w", path, err)
	}
	return r, nil
}

// source is what is described. Nothing outside of it can be read through it.
type source struct {
	io.ReaderAt
	size int64
}

// newSource returns the size bytes of r that begin at an offset.
func newSource(r io.ReaderAt, offset, size int64) source {
	return source{io.NewSectionReader(r, offset, size), size}
}

// section returns it as a reader of its own.
func (s source) section() *io.SectionReader { return io.NewSectionReader(s, 0, s.size) }

// head returns the first bytes, n at most.
func (s source) head(n int64) ([]byte, error) {
	b := make([]byte, min(n, s.size))
	k, err := s.ReadAt(b, 0)
	if k < len(b) {
		return nil, err
	}
	return b, nil
}

// has tells whether a text is at an offset.
func (s source) has(offset int64, text string) bool {
	b := make([]byte, len(text))
	n, _ := s.ReadAt(b, offset)
	return n == len(b) && string(b) == text
}

// maxNesting bounds how deep things lie within each other: file, qcow2, disk,
// file system, program.
const maxNesting = 8

// format is a kind of file: what it looks like, and how to describe it.
type format struct {
	is       func(source) bool
	describe func(context.Context, source, *Report, int) error
}

// formats returns all formats; the first that fits counts. A volume can be a
// disk as well, and a kernel an EFI program.
func formats() []format {
	return []format{
		{isQcow2, describeQcow2},
		{isVolume, describeVolume},
		{isDisk, describeDisk},
		{isMBR, describeMBR},
		{isFAT, describeFAT},
		{isEROFS, describeEROFS},
		{isExt4, describeExt4},
		{isProgram, describeProgram},
		{isInitramfs, describeInitramfs},
		{isCPIO, describeCPIO},
		{isScript, describeScript},
		{isJSON, describeJSON},
		{isCmdline, describeCmdline},
	}
}

// describe finds out what a source is. Damage is an error; what nobody
// recognises is not.
func describe(ctx context.Context, s source, name string, depth int) (Report, error) {
	r := Report{Name: name, Kind: KindUnknown, Size: s.size}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	if depth > maxNesting {
		return r, errors.New("too many things lie within each other")
	}
	for _, f := range formats() {
		if f.is(s) {
			if err := f.describe(ctx, s, &r, depth); err != nil {
				return r, fmt.Errorf("%s: %w", name, err)
			}
			return r, nil
		}
	}
	return r, nil
}

// add describes something inside.
func (r *Report) add(ctx context.Context, s source, name string, depth int) error {
	part, err := describe(ctx, s, name, depth+1)
	r.Parts = append(r.Parts, part)
	return err
}
