package fat

import "encoding/binary"

const (
	entriesPerSector = sectorSize / 4
	endOfChain       = 0x0fffffff
)

// table is the file allocation table up to the last cluster in use.
type table struct{ bytes []byte }

// newTable returns the two reserved entries: the media byte, and the flags that
// say that the volume was unmounted cleanly and without errors.
func newTable() *table {
	t := &table{}
	t.add(0x0ffffff8)
	t.add(endOfChain)
	return t
}

func (t *table) add(v uint32) { t.bytes = binary.LittleEndian.AppendUint32(t.bytes, v) }

// chain appends a run of n clusters and returns its first; 0 for an empty run.
func (t *table) chain(n int64) uint32 {
	if n == 0 {
		return 0
	}
	first := uint32(len(t.bytes) / 4)
	for i := uint32(1); i < uint32(n); i++ {
		t.add(first + i)
	}
	t.add(endOfChain)
	return first
}
