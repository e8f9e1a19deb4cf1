package builder

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/fault"
)

// folderRemote is a Remote in a folder. Whatever reject returns an error for
// can't be believed.
type folderRemote struct {
	dir    string
	reject func(key string) error
	pull   error // instead of every answer
	push   error

	mu     *sync.Mutex
	pulls  *int
	pushed *[]string
}

func newFolderRemote(t *testing.T) folderRemote {
	return folderRemote{dir: t.TempDir(), mu: &sync.Mutex{}, pulls: new(int), pushed: new([]string)}
}

func (r folderRemote) Name() string { return "registry.example.com/cache" }

func (r folderRemote) Pull(_ context.Context, key, dir string, wanted func(string) bool) error {
	r.mu.Lock()
	*r.pulls++
	r.mu.Unlock()
	if r.pull != nil {
		return r.pull
	}
	files, err := os.ReadDir(filepath.Join(r.dir, key))
	if err != nil {
		return err
	}
	if r.reject != nil {
		if err := r.reject(key); err != nil {
			return &cache.RejectedError{Err: err}
		}
	}
	for _, f := range files {
		if !wanted(f.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(r.dir, key, f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f.Name()), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r folderRemote) Has(_ context.Context, key string) (bool, error) {
	_, err := os.Stat(filepath.Join(r.dir, key))
	return err == nil, nil
}

func (r folderRemote) Push(_ context.Context, key string, files []cache.RemoteFile) error {
	if r.push != nil {
		return r.push
	}
	dir := filepath.Join(r.dir, key)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		data, err := os.ReadFile(f.Path)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f.Name), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.pushed = append(*r.pushed, key)
	return nil
}

// freshMachine is the same platform on a machine with nothing cached.
func (s *small) freshMachine(t *testing.T) *small {
	fresh := *s
	fresh.cache = t.TempDir()
	return &fresh
}

// TestRemoteCache builds on one machine and again on others: the second runs no
// stage, the third, where one file of the overlay has changed, those that depend
// on it.
func TestRemoteCache(t *testing.T) {
	remote := newFolderRemote(t)
	one := newSmall(t)
	c := one.config(t, true)
	c.CacheTo = remote
	first := one.build(t, c)
	if n := len(strings.Fields(allStages)) - 3; len(*remote.pushed) != n { // fetch, finish-root and begin-oci stay
		t.Errorf("%d entries were pushed, not %d", len(*remote.pushed), n)
	}
	two := one.freshMachine(t)
	c = two.config(t, true)
	c.CacheFrom, c.CacheTo = remote, remote
	again := two.build(t, c)
	again.want(t, "", allOutputs)
	if !maps.Equal(again.files, first.files) {
		t.Error("the other machine gave other files")
	}
	if n := len(strings.Fields(allStages)) - 3; len(*remote.pushed) != n {
		t.Error("what came from there was sent back")
	}
	two.build(t, two.config(t, true)).want(t, "", allOutputs) // from its own cache now

	three := one.freshMachine(t)
	three.write(t, "overlay/etc/motd", "another\n")
	c = three.config(t, true)
	c.CacheFrom = remote
	changed := three.build(t, c)
	changed.want(t, "finish-root root-image uki sbom manifest kernel-initrd raw iso ipxe qcow2 begin-oci oci",
		"unpack-root unpack-kernel kernel initramfs")
	if cold := three.build(t, three.config(t, false)); !maps.Equal(changed.files, cold.files) {
		t.Error("a build without a cache gives other files")
	}
}

// TestRejectedEntriesAreBuiltAndReplaced: what can't be believed is named with
// the reason, built, and replaced in the remote.
func TestRejectedEntriesAreBuiltAndReplaced(t *testing.T) {
	remote := newFolderRemote(t)
	one := newSmall(t)
	c := one.config(t, true)
	c.CacheTo = remote
	first := one.build(t, c)
	*remote.pushed = nil
	bad := remote
	bad.reject = func(string) error { return errors.New("signed by a stranger") }
	two := one.freshMachine(t)
	c = two.config(t, true)
	c.CacheFrom, c.CacheTo = bad, remote
	got := two.build(t, c)
	got.want(t, allStages, "")
	if !maps.Equal(got.files, first.files) {
		t.Error("the build gave other files")
	}
	if !slices.ContainsFunc(got.details, func(d string) bool {
		return strings.Contains(d, "not taken from the cache: registry.example.com/cache: rejected: signed by a stranger")
	}) {
		t.Errorf("the reason is missing: %q", got.details)
	}
	if n := len(strings.Fields(allStages)) - 3; len(*remote.pushed) != n {
		t.Errorf("%d entries were replaced, not %d", len(*remote.pushed), n)
	}
}

// TestSwappedRemoteEntries puts every entry under another's key: each says itself
// that it is another's.
func TestSwappedRemoteEntries(t *testing.T) {
	remote := newFolderRemote(t)
	one := newSmall(t)
	c := one.config(t, true)
	c.CacheTo = remote
	first := one.build(t, c)
	keys, err := os.ReadDir(remote.dir)
	if err != nil || len(keys) < 2 {
		t.Fatal(err)
	}
	swapped := newFolderRemote(t)
	for i, k := range keys {
		if err := os.Symlink(filepath.Join(remote.dir, keys[(i+1)%len(keys)].Name()), filepath.Join(swapped.dir, k.Name())); err != nil {
			t.Fatal(err)
		}
	}
	two := one.freshMachine(t)
	c = two.config(t, true)
	c.CacheFrom = swapped
	got := two.build(t, c)
	got.want(t, allStages, "")
	if !maps.Equal(got.files, first.files) {
		t.Error("the build gave other files")
	}
}

// A remote that doesn't answer is asked once, and it is told once; one that takes nothing fails the
// build after the artifacts are complete.
func TestRemoteOutage(t *testing.T) {
	remote := newFolderRemote(t)
	remote.pull = errors.New("connection refused")
	s := newSmall(t)
	c := s.config(t, true)
	c.CacheFrom = remote
	got := s.build(t, c)
	got.want(t, allStages, "")
	// Stages that look at the same time may have asked beside the first.
	if *remote.pulls > len(strings.Fields(allOutputs))+1 || len(got.details) != 1 {
		t.Errorf("%d pulls, and it said %q", *remote.pulls, got.details)
	}

	other := s.freshMachine(t)
	c = other.config(t, true)
	refusing := newFolderRemote(t)
	refusing.push = errors.New("no space left in the registry")
	c.CacheTo = refusing
	f, p := other.plan(t, c)
	output := t.TempDir()
	_, err := Run(t.Context(), c, f, p, output)
	if fault.ClassOf(err) != fault.Remote || !strings.Contains(err.Error(), "no space left in the registry") {
		t.Errorf("Run = %v", err)
	}
	if !maps.Equal(filesOf(t, output), got.files) {
		t.Error("the artifacts are not complete")
	}
	if left, err := os.ReadDir(output); err != nil || len(left) != 1 {
		t.Errorf("the output folder holds %v, %v", left, err)
	}
}
