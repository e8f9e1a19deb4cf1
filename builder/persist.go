package builder

import (
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/families"
)

// newPersist returns the definition's partition for what changes, or nil.
func newPersist(f *spec.File) (*families.Persist, error) {
	p := f.Disk.Persist
	if p == nil {
		return nil, nil
	}
	size, err := p.Bytes()
	if err != nil {
		return nil, f.Bad("disk.persist.size", "%v", err)
	}
	if size != 0 && (size < families.MinPersist || size > families.MaxPersist) {
		return nil, f.Bad("disk.persist.size", "%q is not between %d MiB and %d TiB", p.Size, families.MinPersist>>20, int64(families.MaxPersist)>>40)
	}
	return &families.Persist{Label: p.Label, Size: size}, nil
}
