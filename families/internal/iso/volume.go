package iso

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/powernode/bootsmith/families/internal/extent"
)

// Sectors of the volume descriptors.
const (
	primarySector    = 16
	bootRecordSector = 17 // El Torito 1.0, section 2.0, asks for this one
	jolietSector     = 18
	terminatorSector = 19
	firstFree        = 20
)

// volume is a volume being laid out.
type volume struct {
	cfg     Config
	root    *node
	plain   *hierarchy // with Rock Ridge
	joliet  *hierarchy
	catalog int64 // sector of the boot catalog
	boot    int64 // sector of the boot image
	sectors int64
}

// layOut gives everything its sectors.
func (v *volume) layOut() (err error) {
	if v.plain, err = newHierarchy(v.root, false, v.cfg.Time); err != nil {
		return err
	}
	if v.joliet, err = newHierarchy(v.root, true, v.cfg.Time); err != nil {
		return err
	}
	next := v.joliet.placeTables(v.plain.placeTables(firstFree))
	next = v.joliet.place(v.plain.place(next))
	if next, err = v.placeBoot(next); err != nil {
		return err
	}
	for _, f := range v.root.files() {
		if own, ok := v.bootStarts()[f.entry.Path]; ok {
			f.start = own
			continue
		}
		if f.start = next; f.entry.Size > (math.MaxUint32-next)*SectorSize {
			return fmt.Errorf("placing %q: the volume would have more than %d sectors", f.entry.Path, uint32(math.MaxUint32))
		}
		next += sectors(f.entry.Size)
	}
	v.sectors = next + sectors(v.cfg.Tail)
	if v.sectors > math.MaxUint32 {
		return fmt.Errorf("%d sectors: at most %d fit", v.sectors, uint32(math.MaxUint32))
	}
	return nil
}

// placeBoot puts the catalog at next and the boot image where it is wanted, and
// returns the first sector behind it.
func (v *volume) placeBoot(next int64) (int64, error) {
	b := v.cfg.Boot
	v.catalog, v.boot = next, next+1
	if b.Offset != 0 {
		if b.Offset%SectorSize != 0 || b.Offset < v.boot*SectorSize {
			return 0, fmt.Errorf("placing the boot image at byte %d: it must be a multiple of %d, %d or more", b.Offset, SectorSize, v.boot*SectorSize)
		}
		v.boot = b.Offset / SectorSize
	}
	return v.boot + sectors(b.Image.Size()), nil
}

// bootStarts returns the first sectors of the files that have their places
// already, by path.
func (v *volume) bootStarts() map[string]int64 {
	return map[string]int64{v.cfg.Boot.Path: v.boot, v.cfg.Boot.CatalogPath: v.catalog}
}

// image puts the pieces together.
func (v *volume) image() *extent.Image {
	m := extent.New(v.sectors * SectorSize)
	add := func(sector int64, data []byte) { m.AddBytes(sector*SectorSize, data) }
	add(primarySector, v.primaryDescriptor())
	add(bootRecordSector, v.bootRecord())
	add(jolietSector, v.jolietDescriptor())
	add(terminatorSector, terminator())
	for _, h := range []*hierarchy{v.plain, v.joliet} {
		add(h.tables[0], h.pathTable(binary.LittleEndian))
		add(h.tables[1], h.pathTable(binary.BigEndian))
		for _, d := range h.dirs {
			records, more := h.encode(d)
			add(d.start, append(records, more...))
		}
	}
	add(v.catalog, v.bootCatalog())
	m.AddImage(v.boot*SectorSize, v.cfg.Boot.Path, v.cfg.Boot.Image)
	for _, f := range v.root.files() {
		if _, own := v.bootStarts()[f.entry.Path]; !own {
			m.AddFile(f.start*SectorSize, f.entry.Size, f.entry.Path, f.entry.Open)
		}
	}
	return m
}
