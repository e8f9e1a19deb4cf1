package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
)

// Limits say what Prune leaves.
type Limits struct {
	// Size is how many bytes may stay; negative: any number.
	Size int64
	// Age is how long ago things may have been used; 0: any time.
	Age time.Duration
}

// NoLimits keep whatever is in use by anything.
func NoLimits() Limits { return Limits{Size: -1} }

// Mode says how to prune.
type Mode struct {
	// DryRun deletes nothing, and tells what would be deleted.
	DryRun bool
	// Wait waits until no build runs, as the cache is pruned only when nobody
	// uses it; without it, that is ErrInUse.
	Wait bool
}

// Pruned is what Prune deleted.
type Pruned struct {
	Totals []Total `json:"deleted"`
	Size   int64   `json:"deleted_bytes"`
	Left   int64   `json:"left_bytes"`
}

// ErrInUse tells that builds are running.
var ErrInUse = errors.New("the cache is in use by a build")

// Prune deletes from the cache in dir what the limits don't allow, the things
// that were not used for longest first, then what nothing uses: blobs and
// objects without an entry or listing that names them, damaged entries, and what
// killed builds left. A folder with files that no build has used is an error
// of class fault.Input.
func Prune(ctx context.Context, dir string, limits Limits, now time.Time, mode Mode) (*Pruned, error) {
	if err := checkIsCache(dir); err != nil {
		return nil, err
	}
	lock, err := openLock(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if got, err := tryLock(lock, syscall.LOCK_EX); err != nil {
		return nil, err
	} else if !got && !mode.Wait {
		return nil, ErrInUse
	}
	if err := waitLock(ctx, lock, syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("waiting for the cache %q: %w", dir, err)
	}
	inv, err := takeInventory(dir)
	if err != nil {
		return nil, fmt.Errorf("pruning the cache %q: %w", dir, err)
	}
	p := &pruning{inventory: inv, dryRun: mode.DryRun, totals: map[Kind]*Total{}}
	if err := p.run(ctx, limits, now); err != nil {
		return nil, fmt.Errorf("pruning the cache %q: %w", dir, err)
	}
	return p.result(), nil
}

// checkIsCache refuses a folder with files that are not a cache's.
func checkIsCache(dir string) error {
	_, err := os.Stat(filepath.Join(dir, lockFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if entries, _ := os.ReadDir(dir); len(entries) == 0 {
		return nil
	}
	return fault.Inputf("pruning the cache %q: no build has used it: %w", dir, err).WithFix("name a cache with --cache-dir")
}

// pruning is a run of Prune.
type pruning struct {
	*inventory
	kept   []keptThing // the oldest first
	left   int64       // bytes
	dryRun bool
	totals map[Kind]*Total // deleted
}

type keptThing struct {
	thing
	uses uses
}

func (p *pruning) run(ctx context.Context, limits Limits, now time.Time) error {
	if err := p.sort(limits, now); err != nil {
		return err
	}
	for _, f := range p.shared {
		if f.users == 0 {
			if err := p.deleteShared(f); err != nil {
				return err
			}
		}
	}
	for len(p.kept) > 0 && limits.Size >= 0 && p.left > limits.Size {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		oldest := p.kept[0]
		p.kept = p.kept[1:]
		if err := p.drop(oldest); err != nil {
			return err
		}
	}
	if p.dryRun {
		return nil
	}
	return deleteScratch(p.dir)
}

// sort deletes what is damaged or too old, and counts the users of what is
// shared.
func (p *pruning) sort(limits Limits, now time.Time) error {
	for _, t := range p.junk {
		if err := p.delete(t); err != nil {
			return err
		}
	}
	for _, f := range p.shared {
		p.left += f.size
	}
	for _, t := range p.things {
		u, err := p.usesOf(&t)
		tooOld := limits.Age > 0 && now.Sub(t.used) > limits.Age
		if IsDamage(err) || err == nil && tooOld {
			if err := p.delete(t); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		p.kept = append(p.kept, keptThing{t, u})
		p.left += t.size
		for _, f := range u {
			f.users++
		}
	}
	return nil
}

// drop deletes a thing with what only it uses.
func (p *pruning) drop(t keptThing) error {
	if err := p.delete(t.thing); err != nil {
		return err
	}
	p.left -= t.size
	for _, f := range t.uses {
		if f.users--; f.users > 0 {
			continue
		}
		if err := p.deleteShared(f); err != nil {
			return err
		}
	}
	return nil
}

func (p *pruning) deleteShared(f *sharedFile) error {
	p.left -= f.size
	t := p.total(f.kind)
	t.Size += f.size
	if f.kind != Stages {
		t.Count++
	}
	return p.remove(f.path)
}

// delete deletes a thing; what it uses stays.
func (p *pruning) delete(t thing) error {
	total := p.total(t.kind)
	total.Count++
	total.Size += t.size
	return p.remove(t.path)
}

func (p *pruning) remove(path string) error {
	if p.dryRun {
		return nil
	}
	return remove(path)
}

func (p *pruning) total(k Kind) *Total {
	if p.totals[k] == nil {
		p.totals[k] = &Total{Kind: k}
	}
	return p.totals[k]
}

func (p *pruning) result() *Pruned {
	r := &Pruned{Left: p.left}
	for _, k := range Kinds() {
		t := *p.total(k)
		r.Totals = append(r.Totals, t)
		r.Size += t.Size
	}
	return r
}
