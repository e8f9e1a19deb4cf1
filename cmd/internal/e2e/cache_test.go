package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/cache"
)

// cacheWithDownloads returns a cache of the test's own that has the downloads of
// the whole builds, and what was unpacked of them.
func cacheWithDownloads(t *testing.T) (first finished, dir string) {
	t.Helper()
	first, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "cache")
	for _, part := range []string{"release", "sha256", "resolved", "unpacked", "objects"} {
		if err := copyCache(filepath.Join(dir, part), filepath.Join(first.cache, part), false); err != nil {
			t.Fatal(err)
		}
	}
	return first, dir
}

// definitionOf returns a copy of the platform.
func definitionOf(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "definition")
	if err := copyDefinition(dir, 3, 0); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cachedBuild builds with the stage cache and returns what ran and what was
// cached.
func cachedBuild(t *testing.T, definition, cache, output string, flags ...string) (ran, cached []string) {
	t.Helper()
	args := append([]string{"build", "--file", definition, "--output-dir", output, "--cache-dir", cache, "--offline", "--log-format", "json"}, flags...)
	out, err := host{Umask: 0o022, Dir: "/", Env: append(network(), "HOME=/nonexistent")}.run(t.Context(), args...)
	if err != nil || out.Code != 0 {
		t.Fatalf("bootsmith %q ended with %d, %v:\n%s", args, out.Code, err, out.stderr)
	}
	lines := bufio.NewScanner(strings.NewReader(out.stderr))
	for lines.Scan() {
		var e builder.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("reading %q: %v", lines.Text(), err)
		}
		switch e.State {
		case builder.Finished:
			ran = append(ran, e.Stage)
		case builder.Cached:
			cached = append(cached, e.Stage)
		}
	}
	slices.Sort(ran)
	slices.Sort(cached)
	t.Logf("peak memory %d MiB", out.MaxRSS>>20)
	return ran, cached
}

// both returns stages of both architectures, sorted.
func both(stages string) []string {
	var list []string
	for _, s := range strings.Fields(stages) {
		list = append(list, "amd64/"+s, "arm64/"+s)
	}
	slices.Sort(list)
	return list
}

const outputs = "kernel-initrd raw iso ipxe qcow2 oci sbom manifest"

// TestCachedBuild builds all twelve artifacts again and again: a repeated build
// runs no stage, a changed file of the overlay only those that depend on it, and
// all give the bytes of builds without a cache.
func TestCachedBuild(t *testing.T) {
	first, cache := cacheWithDownloads(t)
	definition := definitionOf(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if ran, _ := cachedBuild(t, definition, cache, at("cold")); !slices.Contains(ran, "arm64/qcow2") {
		t.Errorf("a build with nothing cached ran %q", ran)
	}
	compareBuilds(t, first.dir, at("cold"))
	start := time.Now()
	ran, cached := cachedBuild(t, definition, cache, at("warm"))
	t.Logf("the repeated build of twelve artifacts took %s", time.Since(start).Round(time.Millisecond))
	if len(ran) > 0 || !slices.Equal(cached, both(outputs)) {
		t.Errorf("a repeated build ran %q, and took %q from the cache", ran, cached)
	}
	compareBuilds(t, first.dir, at("warm"))

	if err := os.WriteFile(filepath.Join(definition, "overlay/etc/motd"), []byte("changed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ran, cached = cachedBuild(t, definition, cache, at("changed"))
	if want := both("finish-root root-image uki begin-oci " + outputs); !slices.Equal(ran, want) {
		t.Errorf("after a change of the overlay, these stages ran:\n%q, not\n%q", ran, want)
	}
	if want := both("unpack-root unpack-kernel kernel initramfs"); !slices.Equal(cached, want) {
		t.Errorf("after a change of the overlay, these were cached:\n%q, not\n%q", cached, want)
	}
	cachedBuild(t, definition, cache, at("changed anew"), "--no-cache")
	compareBuilds(t, at("changed anew"), at("changed"))
}

// TestKilledBuild kills builds at random moments, with a signal that nothing can
// be done about; a build with the cache that they left gives the right files.
func TestKilledBuild(t *testing.T) {
	first, cache := cacheWithDownloads(t)
	definition := definitionOf(t)
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	limit := 4 * time.Second
	for range 6 {
		output := t.TempDir()
		cmd := exec.Command(path, "build", "--file", definition, "--output-dir", output, "--cache-dir", cache, "--offline")
		cmd.Env = append(network(), "HOME=/nonexistent", "PATH="+os.Getenv("PATH"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(limit))
		if err := cmd.Process.Kill(); err == nil {
			killed++
		}
		if cmd.Wait() == nil { // it was faster
			killed--
			limit /= 2
			if err := os.RemoveAll(filepath.Join(cache, "stages")); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range arch.All() { // what is there is whole
			if isFolder(filepath.Join(output, a.Name)) {
				compareBuilds(t, filepath.Join(first.dir, a.Name), filepath.Join(output, a.Name))
			}
		}
	}
	if killed == 0 {
		t.Fatal("no build was killed")
	}
	t.Logf("%d builds were killed", killed)
	output := filepath.Join(t.TempDir(), "after")
	ran, cached := cachedBuild(t, definition, cache, output)
	t.Logf("then %d stages ran, %d were cached", len(ran), len(cached))
	compareBuilds(t, first.dir, output)
}

// TestBuildsShareACache runs two builds at once; both give the right files, and
// the cache can be pruned and used after that.
func TestBuildsShareACache(t *testing.T) {
	first, dir := cacheWithDownloads(t)
	definition := definitionOf(t)
	out := [2]string{filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env = append(network(), "HOME=/nonexistent", "PATH="+os.Getenv("PATH"))
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, stderr.String())
		}
		return stdout.String(), err
	}
	var wg sync.WaitGroup
	for _, o := range out {
		wg.Go(func() {
			if _, err := run("build", "--file", definition, "--output-dir", o, "--cache-dir", dir, "--offline"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	compareBuilds(t, first.dir, out[0])
	compareBuilds(t, first.dir, out[1])

	text, err := run("cache", "ls", "--json", "--cache-dir", dir)
	var l cache.Listing
	if err == nil {
		err = json.Unmarshal([]byte(text), &l)
	}
	if err != nil || !slices.ContainsFunc(l.Entries, func(e cache.Listed) bool { return e.Stage == "arm64/iso" && e.Size > 1<<20 }) {
		t.Errorf("cache ls: %v\n%s", err, text)
	}
	text, err = run("cache", "prune", "--max-size", "64MiB", "--json", "--cache-dir", dir)
	var p cache.Pruned
	if err == nil {
		err = json.Unmarshal([]byte(text), &p)
	}
	if err != nil || p.Left > 64<<20 || p.Left == 0 || p.Size == 0 {
		t.Errorf("cache prune: %v\n%s", err, text)
	}
	if text, err = run("cache", "prune", "--all", "--cache-dir", dir); err != nil || !strings.Contains(text, "left") {
		t.Errorf("cache prune --all: %v\n%s", err, text)
	}
	if text, err = run("cache", "ls", "--json", "--cache-dir", dir); err != nil || !strings.Contains(text, `"size_bytes": 0
}`) {
		t.Errorf("after that, cache ls: %v\n%s", err, text)
	}
}

// compareBuilds fails the test unless two folders hold the same.
func compareBuilds(t *testing.T, a, b string) {
	t.Helper()
	if err := compareFolders(a, b); err != nil {
		t.Error(err)
	}
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
