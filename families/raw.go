package families

import (
	"context"

	"github.com/powernode/bootsmith/arch"
)

// raw is a disk image as it goes onto a disk, byte for byte.
type raw struct{}

// Name implements Family.
func (raw) Name() string { return "raw" }

// Parts implements Selective.
func (raw) Parts() []Part { return diskParts() }

// Build implements Family.
func (raw) Build(ctx context.Context, in Input, out *Sink) error {
	disk, err := newDisk(in)
	if err != nil {
		return err
	}
	name := in.fileName("img")
	out.SetMain(name)
	return out.write(name, mediaRaw, func(f *File) error { return disk.Copy(ctx, f) })
}

// Prove implements Prover.
func (raw) Prove(ctx context.Context, dir string, a arch.Arch) (Proof, error) {
	f, err := openOnly(dir, "img")
	if err != nil {
		return Proof{}, err
	}
	defer f.Close()
	return proveDisk(ctx, f, f.size, a)
}
