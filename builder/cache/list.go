package cache

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Listing is what a cache holds.
type Listing struct {
	Entries []Listed `json:"entries"`
	Totals  []Total  `json:"totals"`
	Size    int64    `json:"size_bytes"`
}

// Listed is an entry in a listing.
type Listed struct {
	Key   string `json:"key"`
	Stage string `json:"stage"`
	// Size counts the bytes of the entry's blobs; entries share blobs.
	Size int64 `json:"size_bytes"`
	// Used is when a build used it last.
	Used time.Time `json:"used"`
}

// Total is what the things of a kind take.
type Total struct {
	Kind  Kind  `json:"kind"`
	Count int   `json:"count"` // entries, of stages; else files
	Size  int64 `json:"size_bytes"`
}

// List lists the entries of the cache in dir, the last used first, and what all
// takes. Builds may go on meanwhile.
func List(dir string) (*Listing, error) {
	inv, err := takeInventory(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the cache %q: %w", dir, err)
	}
	totals := map[Kind]*Total{}
	l := &Listing{Entries: []Listed{}}
	for _, k := range Kinds() {
		l.Totals = append(l.Totals, Total{Kind: k})
	}
	for i := range l.Totals {
		totals[l.Totals[i].Kind] = &l.Totals[i]
	}
	for _, t := range append(inv.things, inv.junk...) {
		totals[t.kind].Count++
		totals[t.kind].Size += t.size
		if t.entry != nil {
			l.Entries = append(l.Entries, Listed{Key: t.entry.Key, Stage: t.entry.Stage, Size: t.size + inv.blobSize(t.entry), Used: t.used.UTC()})
		}
	}
	for _, f := range inv.shared {
		totals[f.kind].Size += f.size
		if f.kind != Stages {
			totals[f.kind].Count++
		}
	}
	for _, t := range l.Totals {
		l.Size += t.Size
	}
	slices.SortFunc(l.Entries, func(a, b Listed) int {
		if c := b.Used.Compare(a.Used); c != 0 {
			return c
		}
		return strings.Compare(a.Stage, b.Stage)
	})
	return l, nil
}

func (inv *inventory) blobSize(e *Entry) int64 {
	var sum int64
	for digest := range e.Blobs() {
		if f := inv.shared[blobFile(inv.dir, digest)]; f != nil {
			sum += f.size
		}
	}
	return sum
}
