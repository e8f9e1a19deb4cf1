//go:build bench

package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const mkosiConfig = `[Distribution]
Distribution=debian
Release=%s
Architecture=x86-64

[Output]
Format=disk
ImageId=bench
OutputDirectory=out

[Build]
PackageCacheDirectory=packages
CacheDirectory=cache
SandboxTrees=sandbox
WithNetwork=yes

[Content]
Bootable=yes
Bootloader=systemd-boot
ExtraTrees=extra
Packages=%s
`

// mkosiSources keep mkosi from asking for archives that mirrors may not have.
const mkosiSources = `Types: deb
URIs: %s
Suites: %s
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`

// server compares the server platform's disk image with mkosi's of the same
// packages: with nothing but packages in the caches, and again with one file of
// the platform's own changed.
func (b *bench) server(t *testing.T) []Comparison {
	name := b.version(t, "mkosi")
	b.makeServer(t)
	count := 0
	change := func(file string) func(context.Context) error {
		return func(context.Context) error {
			count++
			return os.WriteFile(b.path(file), fmt.Appendf(nil, "change %d\n", count), 0o644)
		}
	}
	mkosi := func(args ...string) func(context.Context) *exec.Cmd {
		return func(ctx context.Context) *exec.Cmd {
			return b.room.Command(ctx, "/bench/mkosi", append(append([]string{"mkosi"}, args...), "--force", "build")...)
		}
	}
	ours := func(ctx context.Context) *exec.Cmd { return b.build(ctx, "work/server", "raw") }
	// What they begin with: packages, and a cache that an earlier build has filled.
	b.must(t, mkosi("--incremental")(t.Context()))
	b.must(t, ours(t.Context()))
	return []Comparison{
		b.compare(t, Comparison{
			Title: "a server's disk image again, one file changed", Target: 0.1,
			Ours:  &Contender{Name: "`bootsmith build`", Prepare: change("work/server/platform/overlay/etc/changed"), Command: ours, Output: b.size("work/server/out")},
			Other: &Contender{Name: name + ", incremental", Prepare: change("work/mkosi/extra/etc/changed"), Command: mkosi("--incremental"), Output: b.size("work/mkosi/out")},
		}),
		b.compare(t, Comparison{
			Title: "a server's disk image, packages cached", Target: 1.0 / 6,
			Ours: &Contender{Name: "`bootsmith build`", Prepare: func(context.Context) error { return b.keepDownloads("work/server/cache") },
				Command: ours, Output: b.size("work/server/out")},
			Other: &Contender{Name: name, Prepare: func(context.Context) error { return b.clear("work/mkosi/cache", "work/mkosi/out") },
				Command: mkosi(), Output: b.size("work/mkosi/out")},
		}),
	}
}

// makeServer writes what both build from. mkosi makes an initramfs of its own.
func (b *bench) makeServer(t *testing.T) {
	t.Helper()
	b.remove(t, "work/server/platform", "work/mkosi/cache", "work/mkosi/out")
	for _, dir := range []string{"server", "mkosi/sandbox/etc/apt/sources.list.d", "mkosi/packages", "mkosi/cache", "mkosi/extra/etc"} {
		if err := os.MkdirAll(b.path("work/"+dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.must(t, exec.Command("cp", "-R", platform, b.path("work/server/platform")))
	packages := append([]string{"linux-image-" + architecture, "systemd-boot", "systemd-boot-efi"}, b.include...)
	for file, text := range map[string]string{
		"mkosi.conf": fmt.Sprintf(mkosiConfig, suite, strings.Join(packages, "\n\t")),
		"sandbox/etc/apt/sources.list.d/mkosi.sources": fmt.Sprintf(mkosiSources, b.mirror, suite),
	} {
		if err := os.WriteFile(b.path("work/mkosi/"+file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// keepDownloads empties a cache but for what came from the mirror.
func (b *bench) keepDownloads(cache string) error {
	entries, err := os.ReadDir(b.path(cache))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "sha256" || e.Name() == "release" {
			continue
		}
		if err := b.clear(cache + "/" + e.Name()); err != nil {
			return err
		}
	}
	return b.clear("work/server/out")
}
