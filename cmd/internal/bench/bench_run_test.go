//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

const (
	program  = "../../../bin/bootsmith"
	platform = "../../../fixtures/platforms/debian-13-server"
	suite    = "trixie"
	runsEnv  = "BOOTSMITH_BENCH_RUNS"
	// epoch is later than the packages' files, as a commit of a platform is.
	epoch        = "SOURCE_DATE_EPOCH=1795000000"
	architecture = "amd64"
	zstdLevel    = 7 // what comes closest to our initramfs' size
)

func TestMain(m *testing.M) {
	err := Inside(map[string]func() error{
		"reference": Reference{Level: zstdLevel}.Build,
		"verified":  Reference{Level: zstdLevel, Composefs: "/composefs"}.Build,
	})
	if err == nil && os.Getenv(packagesVariable) != "" {
		if err = unpackPackages(); err == nil {
			os.Exit(0)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// bench is what all comparisons share.
type bench struct {
	dir     string // all below it
	mirror  string // URL of the Mirror
	room    Room
	runs    int
	include []string // the server platform's packages
	trash   *Trash
}

// TestBench makes all comparisons and saves the report.
func TestBench(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("mkosi and the reference tools want to be in a real root: run as root")
	}
	b := newBench(t)
	name := filepath.Join(stateFolder(), reportFile)
	r, err := Load(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	r.Machine = machine()
	for _, group := range []struct {
		name string
		run  func(*testing.T) []Comparison
	}{{"packages", b.packages}, {"families", b.families}, {"server", b.server}} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.run(t) {
				r.Put(c)
			}
			if err := r.Save(name); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Logf("\n%s", r.Markdown())
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := filepath.Abs(stateFolder())
	if err != nil {
		t.Fatal(err)
	}
	source, err := apt.ChooseMirror("", os.Getenv(cli.MirrorVariable), suite, os.DirFS("/"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{dir: dir, runs: 3, trash: &Trash{Dir: filepath.Join(dir, "trash")}}
	if err := b.trash.Empty(); err != nil { // of a run that was killed
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.trash.Empty(); err != nil {
			t.Error(err)
		}
	})
	if s := os.Getenv(runsEnv); s != "" {
		if b.runs, err = strconv.Atoi(s); err != nil || b.runs < 1 {
			t.Fatalf("%s=%q is no number of runs", runsEnv, s)
		}
	}
	// The newest release, and the packages of earlier runs.
	if err := os.RemoveAll(b.path("mirror/dists")); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&Mirror{Dir: b.path("mirror"), Source: strings.TrimSuffix(source, "/")})
	t.Cleanup(server.Close)
	b.mirror = server.URL
	file, err := spec.Read(platform)
	if err != nil {
		t.Fatal(err)
	}
	b.include = file.Root.Packages.Include
	b.makeRoom(t)
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// tools are the packages in the room.
const tools = "mkosi,systemd-ukify,systemd-boot,systemd-boot-efi,systemd-repart,erofs-utils,cpio,zstd,mtools,dosfstools,xorriso," +
	"qemu-utils,cryptsetup-bin,fdisk,e2fsprogs,kmod,umoci,mmdebstrap,debian-archive-keyring,apt,python3-pefile,uidmap,xz-utils"

// makeRoom installs the other programs in a root of their own.
func (b *bench) makeRoom(t *testing.T) {
	t.Helper()
	b.room = Room{Root: b.path("room"), Binds: map[string]string{"bench": b.path("work")}}
	if err := os.MkdirAll(b.path("work"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.path("room.done")); err == nil {
		return
	}
	t.Log("installing the other programs")
	b.remove(t, "room")
	b.must(t, exec.Command("mmdebstrap", "--quiet", "--variant=apt", "--mode=root", "--include="+tools, suite, b.path("room"), b.mirror))
	if err := os.WriteFile(b.path("room.done"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("running %.200s: %v: %s", cmd, err, out)
	}
	return string(out)
}

func (b *bench) remove(t *testing.T, names ...string) {
	t.Helper()
	if err := b.clear(names...); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) clear(names ...string) error {
	for _, name := range names {
		if err := b.trash.Put(b.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// version returns what the room has of a package.
func (b *bench) version(t *testing.T, name string) string {
	t.Helper()
	return name + " " + strings.TrimSpace(b.must(t, b.room.Command(t.Context(), "/", "dpkg-query", "-W", "-f", "${Version}", name)))
}

// build returns a command that builds a platform's families below a folder.
func (b *bench) build(ctx context.Context, dir, families string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, append([]string{"build", "--file", b.path(dir + "/platform"), "--arch", architecture, "--variants", families,
		"--cache-dir", b.path(dir + "/cache"), "--output-dir", b.path(dir + "/out"), "--mirror", b.mirror}, args...)...)
	cmd.Env = append(os.Environ(), epoch)
	return cmd
}

// compare runs a comparison and logs it.
func (b *bench) compare(t *testing.T, c Comparison) Comparison {
	t.Helper()
	if err := c.Run(t.Context(), b.runs); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + Report{Comparisons: []Comparison{c}}.Markdown())
	return c
}

// size returns the function that adds up the blocks on disk of all files in a
// folder.
func (b *bench) size(name string) func() (int64, error) {
	return func() (sum int64, err error) {
		err = filepath.WalkDir(b.path(name), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				sum += blocks(info)
			}
			return err
		})
		return sum, err
	}
}

// machine describes the machine and how busy it was.
func machine() string {
	cpu := "an unknown processor"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(data), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			cpu = strings.TrimSpace(strings.TrimLeft(line, "\t :"))
		}
	}
	load := "unknown"
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(data), " ")
	}
	return fmt.Sprintf("%s, %d cores, load %s when it began, %s.", cpu, runtime.NumCPU(), load, time.Now().UTC().Format("2006-01-02"))
}
