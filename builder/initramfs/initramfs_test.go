package initramfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/kernel"
	"github.com/powernode/bootsmith/builder/tree"
)

var epoch = time.Unix(1700000000, 0)

type contents map[tree.Digest]string

func (c contents) Open(content tree.Content) (io.ReadCloser, error) {
	data, ok := c[content.SHA256]
	if !ok {
		return nil, fmt.Errorf("opening object %x: missing", content.SHA256)
	}
	return io.NopCloser(strings.NewReader(data)), nil
}

func testInput() Input {
	module := func(digest byte, path string, size int64) kernel.Module {
		return kernel.Module{Path: "lib/modules/6.1/" + path, Size: size, Content: tree.Content{SHA256: tree.Digest{digest}}}
	}
	return Input{
		Init:     bytes.Repeat([]byte("init program\n"), 100_000),
		Modules:  []kernel.Module{module(1, "kernel/z.ko.xz", 6), module(2, "kernel/a.ko", 5)},
		Contents: contents{{1}: "zzzzzz", {2}: "aaaaa"},
		Extra: []File{
			{Path: "etc/link", Target: "../init"},
			bytesFile("etc/ca.pem", 0o600, []byte("ca")),
			bytesFile("etc-like", 0o644, nil),
		},
		Epoch: epoch,
	}
}

func write(t *testing.T, in Input) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(context.Background(), &b, in); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// run pipes data through an installed program.
func run(t *testing.T, data []byte, pkg, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is missing: install the Debian package %q", name, pkg)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"TZ=UTC", "LC_ALL=C"}
	cmd.Stdin = bytes.NewReader(data)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, stderr.String())
	}
	return string(out)
}

func TestWriteIsReadByOthers(t *testing.T) {
	data := write(t, testInput())
	run(t, data, "zstd", "zstd", "-t")
	archive := run(t, data, "zstd", "zstd", "-dc")
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(run(t, []byte(archive), "cpio", "cpio", "-itv", "--quiet", "-n")), "\n") {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	day := epoch.UTC().Format("Jan _2 2006")
	dir := func(name string) string { return "drwxr-xr-x 2 0 0 0 " + day + " " + name }
	want := []string{
		dir("dev"),
		"-rw-rw-rw- 1 0 0 0 " + day + " dev/null",
		dir("etc"),
		"-rw-r--r-- 1 0 0 0 " + day + " etc-like",
		"-rw------- 1 0 0 2 " + day + " etc/ca.pem",
		"lrwxrwxrwx 1 0 0 7 " + day + " etc/link -> ../init",
		"-rwxr-xr-x 1 0 0 1300000 " + day + " init",
		dir("lib"),
		dir("lib/bootsmith"),
		"-rw-r--r-- 1 0 0 61 " + day + " lib/bootsmith/modules",
		dir("lib/modules"),
		dir("lib/modules/6.1"),
		dir("lib/modules/6.1/kernel"),
		"-rw-r--r-- 1 0 0 5 " + day + " lib/modules/6.1/kernel/a.ko",
		"-rw-r--r-- 1 0 0 6 " + day + " lib/modules/6.1/kernel/z.ko.xz",
		dir("proc"),
		dir("run"),
		dir("sys"),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.HasPrefix(archive, "070701") {
		t.Errorf("magic %q", archive[:6])
	}
	list := run(t, []byte(archive), "cpio", "cpio", "-i", "--quiet", "--to-stdout", ModuleList)
	if want := "/lib/modules/6.1/kernel/z.ko.xz\n/lib/modules/6.1/kernel/a.ko\n"; list != want {
		t.Errorf("module list %q, want %q", list, want)
	}
}

func TestWriteIsOneFrameWithinTheKernelsWindow(t *testing.T) {
	data := write(t, testInput())
	var h zstd.Header
	if err := h.Decode(data); err != nil {
		t.Fatal(err)
	}
	if h.WindowSize > 128<<20 || !h.HasCheckSum {
		t.Errorf("window %d, checksum %v", h.WindowSize, h.HasCheckSum)
	}
	// A reader that ignores what comes after the first frame sees all of it.
	z, err := zstd.NewReader(bytes.NewReader(data), zstd.IgnoreChecksum(false))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	r := cpio.NewReader(z)
	entries := 0
	inodes := map[int64]bool{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		entries++
		inodes[h.Inode] = true
	}
	if entries != 18 || len(inodes) != entries {
		t.Errorf("%d entries with %d inode numbers", entries, len(inodes))
	}
}

// The length is aligned whatever the contents, and the checksum that zstd(1)
// checks covers the padding.
func TestWriteIsAligned(t *testing.T) {
	for i := range 8 {
		in := testInput()
		in.Extra = append(in.Extra, bytesFile("note", 0o644, bytes.Repeat([]byte{byte(i), 7, 31}, i*1001)))
		data := write(t, in)
		if len(data)%frameAlign != 0 {
			t.Errorf("%d bytes are not a multiple of %d", len(data), frameAlign)
		}
		archive := run(t, data, "zstd", "zstd", "-dc")
		if !strings.Contains(run(t, []byte(archive), "cpio", "cpio", "-it", "--quiet"), "\nnote\n") {
			t.Error("a file is missing")
		}
	}
}

func TestWriteIsReproducible(t *testing.T) {
	want := write(t, testInput())
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, procs := range []int{1, 4} {
		runtime.GOMAXPROCS(procs)
		in := testInput()
		slices.Reverse(in.Extra)
		in.Epoch = epoch.UTC()
		if !bytes.Equal(write(t, in), want) {
			t.Errorf("the bytes differ with GOMAXPROCS=%d", procs)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	broken := errors.New("object is damaged")
	for want, change := range map[string]func(*Input){
		"the program is empty":            func(in *Input) { in.Init = nil },
		"it has fewer than 7 bytes":       func(in *Input) { in.Modules[0].Size = 7 },
		"it has more than 5 bytes":        func(in *Input) { in.Modules[0].Size = 5 },
		"missing":                         func(in *Input) { in.Contents = contents{} },
		"such an entry already":           func(in *Input) { in.Modules[1].Path = in.Modules[0].Path },
		"clean, relative":                 func(in *Input) { in.Extra[0].Path = "../etc" },
		"clean, relative one":             func(in *Input) { in.Extra[0].Path = "/etc/x" },
		`"init" is not a directory`:       func(in *Input) { in.Extra[0].Path = "init/x" },
		"ends the archive":                func(in *Input) { in.Extra[0].Path = "TRAILER!!!" },
		"permission bits":                 func(in *Input) { in.Extra[1].Mode = 0o4755 },
		"neither contents nor a target":   func(in *Input) { in.Extra[0].Target = "" },
		"whose limit is 4 GiB":            func(in *Input) { in.Extra[1].Size = 1 << 32 },
		"time stamp -1":                   func(in *Input) { in.Epoch = time.Unix(-1, 0) },
		"object is damaged":               func(in *Input) { in.Extra[1].Open = failing("ca", broken) },
		"names are limited to 4095 bytes": func(in *Input) { in.Extra[0].Target = strings.Repeat("x", 4096) },
	} {
		in := testInput()
		change(&in)
		err := Write(context.Background(), io.Discard, in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Write(ctx, io.Discard, testInput()); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// failing opens contents that end in an error in the place of io.EOF, as those
// of a damaged object do.
func failing(data string, err error) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader(data), errorReader{err})), nil
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestRootCPIO(t *testing.T) {
	image := strings.Repeat("root image ", 1001)
	var b bytes.Buffer
	if err := WriteRootCPIO(context.Background(), &b, strings.NewReader(image), int64(len(image)), epoch); err != nil {
		t.Fatal(err)
	}
	if b.Len()%512 != 0 {
		t.Errorf("%d bytes are not a multiple of 512", b.Len())
	}
	if got := run(t, b.Bytes(), "cpio", "cpio", "-it", "--quiet"); got != "root.img\n" {
		t.Errorf("names %q", got)
	}
	if got := run(t, b.Bytes(), "cpio", "cpio", "-i", "--quiet", "--to-stdout"); got != image {
		t.Errorf("%d bytes came back, want %d", len(got), len(image))
	}
}

func TestRootCPIORefusesOtherSizes(t *testing.T) {
	for _, size := range []int64{3, 5, 1 << 32, -1} {
		err := WriteRootCPIO(context.Background(), io.Discard, strings.NewReader("four"), size, epoch)
		if err == nil {
			t.Errorf("size %d: no error", size)
		}
		if big := size == 1<<32; big && fault.ClassOf(err) != fault.Input {
			t.Errorf("size %d: class %v", size, fault.ClassOf(err))
		}
	}
}

func TestInitFrom(t *testing.T) {
	amd64, err := arch.Lookup("amd64")
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{"bin/init-amd64": {Data: []byte("elf")}}
	if data, err := initFrom(fsys, amd64); err != nil || string(data) != "elf" {
		t.Errorf("got %q, %v", data, err)
	}
	_, err = initFrom(fstest.MapFS{}, amd64)
	if fault.ClassOf(err) != fault.Tool || !strings.Contains(err.Error(), "make init") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkWrite writes an init of 6 MB and 100 modules of 20 KB.
func BenchmarkWrite(b *testing.B) {
	in := testInput()
	noise := contents{}
	rng := rand.NewChaCha8([32]byte{1})
	module := make([]byte, 20_000)
	in.Init, in.Modules, in.Contents, in.Extra = make([]byte, 6_000_000), nil, noise, nil
	for i := range in.Init {
		in.Init[i] = byte(i * i >> 12)
	}
	for n := range byte(100) {
		rng.Read(module)
		noise[tree.Digest{n}] = string(module)
		in.Modules = append(in.Modules, kernel.Module{Path: fmt.Sprintf("lib/modules/6.1/m%d.ko.xz", n), Size: int64(len(module)), Content: tree.Content{SHA256: tree.Digest{n}}})
	}
	b.SetBytes(int64(len(in.Init) + 100*len(module)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(b.Context(), io.Discard, in); err != nil {
			b.Fatal(err)
		}
	}
}
