package apt

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/powernode/bootsmith/builder/fault"
)

// Progress is told how many bytes of how many a Fetch has: cached packages
// count as had. Calls come one at a time, from any goroutine.
type Progress func(done, total int64)

// Fetch brings packages into the cache, several at a time; progress may be nil.
// Packages in the cache are looked at by size only: UnpackInto and Open check
// every byte before they use it, and download a damaged one again.
func (a *Archive) Fetch(ctx context.Context, packages []Package, progress Progress) error {
	meter := &meter{progress: progress}
	var missing []func() error
	seen := map[string]bool{}
	for _, p := range packages {
		if err := p.Check(); err != nil {
			return fault.Default(fault.Input, err)
		}
		from, err := a.repository(p.Repository)
		if err != nil {
			return err
		}
		if seen[p.SHA256] {
			continue
		}
		seen[p.SHA256] = true
		meter.total += p.Size
		if a.cached(p.blob()) {
			meter.done += p.Size
		} else {
			missing = append(missing, func() error { return packageError(p, from.download(ctx, p.blob(), meter.add, p.PoolPath)) })
		}
	}
	meter.add(0)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(a.jobs())
	for _, download := range missing {
		group.Go(download)
	}
	return group.Wait()
}

// Cached tells whether the cache has a package's file, by its size.
func (a *Archive) Cached(p Package) bool { return p.Check() == nil && a.cached(p.blob()) }

// packageError adds a package's name to an error, and the remedy when the
// mirror doesn't have what its index says.
func packageError(p Package, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("fetching package %q: %w", p.Name, indexError(err))
}

// meter adds up what several downloads report.
type meter struct {
	mu          sync.Mutex
	progress    Progress
	done, total int64
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if m.progress != nil {
		m.progress(m.done, m.total)
	}
}
