package families

import (
	"context"
	"errors"
	"runtime"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/families/internal/extent"
	format "github.com/powernode/bootsmith/families/internal/qcow2"
)

// qcow2 is the disk of the family raw in QEMU's compressed format.
type qcow2 struct{}

// Name implements Family.
func (qcow2) Name() string { return "qcow2" }

// Parts implements Selective.
func (qcow2) Parts() []Part { return diskParts() }

// Long implements Long.
func (qcow2) Long() {}

// Build implements Family.
func (qcow2) Build(ctx context.Context, in Input, out *Sink) error {
	disk, err := newDisk(in)
	if err != nil {
		return err
	}
	name := in.fileName("qcow2")
	out.SetMain(name)
	return out.write(name, mediaQcow2, func(f *File) error { return compress(ctx, disk, in.Scratch, f) })
}

// compress writes the disk as qcow2. The number of CPUs changes the time that
// takes and nothing else.
func compress(ctx context.Context, disk *extent.Image, scratch string, out extent.Writer) (err error) {
	w, err := format.NewWriter(ctx, format.Options{Size: disk.Size(), Scratch: scratch, Workers: runtime.GOMAXPROCS(0)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := disk.Copy(ctx, w); err != nil {
		return err
	}
	return w.Finish(out)
}

// Prove implements Prover.
func (qcow2) Prove(ctx context.Context, dir string, a arch.Arch) (Proof, error) {
	f, err := openOnly(dir, "qcow2")
	if err != nil {
		return Proof{}, err
	}
	defer f.Close()
	disk, err := format.OpenImage(f, f.size)
	if err != nil {
		return Proof{}, err
	}
	return proveDisk(ctx, disk, disk.Size(), a)
}
