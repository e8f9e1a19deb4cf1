package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

var roomy = source.Limits{Entries: 1000, Bytes: 1 << 20}

func newStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pack writes a tar archive; a regular file's content is its name, repeated to
// its size.
func pack(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, strings.NewReader(strings.Repeat(h.Name, int(h.Size))), h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sample() []tar.Header {
	at := time.Unix(1700000000, 0)
	return []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: at},
		{Name: "./usr/bin/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: at},
		{Name: "./bin", Typeflag: tar.TypeSymlink, Linkname: "usr/bin", ModTime: at},
		{Name: "./bin/ping", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 3, Gid: 4, Size: 300, ModTime: at,
			PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00cap"}},
		{Name: "./usr/bin/ping4", Typeflag: tar.TypeLink, Linkname: "./usr/bin/ping"},
		{Name: "./dev/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3, ModTime: at},
	}
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, a Source) (*tree.Tree, error) {
	t.Helper()
	s := newStore(t)
	pin, err := a.Pin(context.Background(), s, 0)
	if err != nil {
		return nil, err
	}
	return a.Read(context.Background(), s, 0, pin)
}

func tool(t testing.TB, name, debian string, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running %s: %v; install the package %s", name, err, debian)
	}
	return out
}

// Every compression gives the same tree, whatever the file is called.
func TestReadTakesEveryCompression(t *testing.T) {
	plain := pack(t, sample()...)
	var want string
	for _, x := range []struct {
		name string
		data []byte
	}{
		{"plain", plain},
		{"gzip", tool(t, "gzip", "gzip", plain, "-c")},
		{"xz", tool(t, "xz", "xz-utils", plain, "-c", "-T2", "--block-size=4096")},
		{"zstd", tool(t, "zstd", "zstd", plain, "-c", "-q", "--no-check")},
		{"zstd with check", tool(t, "zstd", "zstd", plain, "-c", "-q", "-19")},
		{"two zstd frames", append(tool(t, "zstd", "zstd", plain[:1024], "-c", "-q"), tool(t, "zstd", "zstd", plain[1024:], "-c", "-q")...)},
	} {
		t.Run(x.name, func(t *testing.T) {
			got, err := read(t, Source{Path: write(t, x.data), Limits: roomy})
			if err != nil {
				t.Fatal(err)
			}
			if want == "" {
				want = source.Digest(got)
			}
			if d := source.Digest(got); d != want {
				t.Errorf("digest %s, want %s", d, want)
			}
		})
	}
}

func TestReadKeepsMetadata(t *testing.T) {
	got, err := read(t, Source{Path: write(t, pack(t, sample()...)), Limits: roomy})
	if err != nil {
		t.Fatal(err)
	}
	n, err := got.Lookup("usr/bin/ping")
	if err != nil {
		t.Fatal(err)
	}
	i := n.Inode
	if i.Mode != tree.TypeRegular|0o4755 || i.UID != 3 || i.GID != 4 || i.Mtime != 1700000000 || i.Links() != 2 || i.Size != 300 {
		t.Errorf("ping is %+v", i)
	}
	if i.Xattrs["security.capability"] != "\x01\x00cap" {
		t.Errorf("its attributes are %q", i.Xattrs)
	}
	if n, err := got.Lookup("dev/null"); err != nil || n.Inode.Type() != tree.TypeChar || n.Inode.Major != 1 || n.Inode.Minor != 3 {
		t.Errorf("dev/null: %+v, %v", n, err)
	}
}

// GNU tar's archives, with sparse files, long names and attributes.
func TestReadTakesGNUTar(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("d/", 60) + strings.Repeat("n", 200)
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(long)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, long), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("end"), 1<<19); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "posix"} {
		data := tool(t, "tar", "tar", nil, "--format="+format, "--sparse", "--xattrs", "-C", dir, "-c", ".")
		got, err := read(t, Source{Path: write(t, data), Limits: roomy})
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if _, err := got.Lookup(long); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if n, err := got.Lookup("sparse"); err != nil || n.Inode.Size != 1<<19+3 {
			t.Errorf("%s: the sparse file is %+v, %v", format, n, err)
		}
	}
}

func TestReadRefusesHostileArchives(t *testing.T) {
	reg := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 1}
	}
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	hard := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
	}
	flood := make([]tar.Header, 2000)
	for i := range flood {
		flood[i] = tar.Header{Name: fmt.Sprintf("dev/x%d", i), Typeflag: tar.TypeBlock, Devmajor: 8, Devminor: int64(i)}
	}
	bomb := tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: 8 << 20}
	plain := pack(t, sample()...)
	for name, x := range map[string]struct {
		data []byte
		want string
	}{
		"parent":                  {pack(t, reg("a/../../etc/passwd")), "leaves the archive"},
		"absolute":                {pack(t, reg("/etc/passwd")), "leaves the archive"},
		"hard link to the parent": {pack(t, hard("a", "../../etc/passwd")), "leaves the archive"},
		"absolute hard link":      {pack(t, hard("a", "/etc/passwd")), "leaves the archive"},
		"dangling hard link":      {pack(t, hard("a", "b")), "does not exist"},
		"hard link to a folder":   {pack(t, tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755}, hard("a", "d")), "a directory can't be hard-linked"},
		"symlink loop":            {pack(t, link("a", "b"), link("b", "a"), reg("a/x")), "too many symbolic links"},
		"below a file":            {pack(t, reg("a"), reg("a/b")), "not a directory"},
		"file over a folder":      {pack(t, reg("a/b"), reg("a")), "there is a directory of that name"},
		"device flood":            {pack(t, flood...), "exceeds 1000 entries"},
		"bomb":                    {tool(t, "gzip", "gzip", pack(t, bomb), "-c"), "exceeds"},
		"cut at an entry":         {plain[:512*2], "no end mark"},
		"cut in a file":           {plain[:len(plain)-1024-700], "unexpected EOF"},
		"cut end mark":            {plain[:len(plain)-1024], "no end mark"},
		"cut gzip":                {half(tool(t, "gzip", "gzip", plain, "-c")), "unexpected EOF"},
		"cut xz":                  {half(tool(t, "xz", "xz-utils", plain, "-c")), "unexpected EOF"},
		"cut zstd":                {half(tool(t, "zstd", "zstd", plain, "-c", "-q")), "unexpected EOF"},
		"damaged gzip":            {flip(tool(t, "gzip", "gzip", plain, "-c")), "reading"},
		"large zstd window":       {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 0, 0, 0, 0}, "window"},
		"bzip2":                   {[]byte("BZh91AY&SY"), "use gzip, xz or zstd"},
		"no archive":              {bytes.Repeat([]byte("text "), 400), "tar header"},
		"empty":                   {nil, "no end mark"},
		"owner out of range":      {pack(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Uid: 1 << 33}), "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(t, Source{Path: write(t, x.data), Limits: roomy})
			if err == nil || !strings.Contains(err.Error(), x.want) || fault.ClassOf(err) != fault.Input {
				t.Errorf("error %v lacks %q or its class", err, x.want)
			}
		})
	}
}

func half(b []byte) []byte { return b[:len(b)/2] }

func flip(b []byte) []byte {
	b[len(b)/2] ^= 0xff
	return b
}

// A symbolic link, wherever it points, leads to a place in the tree.
func TestSymlinksStayInTheTree(t *testing.T) {
	got, err := read(t, Source{Path: write(t, pack(t,
		tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "../../../tmp"},
		tar.Header{Name: "abs", Typeflag: tar.TypeSymlink, Linkname: "/tmp"},
		tar.Header{Name: "up/a", Typeflag: tar.TypeReg, Size: 1},
		tar.Header{Name: "abs/b", Typeflag: tar.TypeReg, Size: 1},
	)), Limits: roomy})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tmp/a", "tmp/b"} {
		if _, err := got.Lookup(name); err != nil {
			t.Error(err)
		}
	}
}

func TestDigestIsChecked(t *testing.T) {
	data := pack(t, sample()...)
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	path := write(t, data)
	if _, err := read(t, Source{Path: path, SHA256: sum, Limits: roomy}); err != nil {
		t.Error(err)
	}
	_, err := read(t, Source{Path: path, SHA256: strings.Repeat("0", 64), Limits: roomy})
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "its SHA-256 is "+sum) {
		t.Errorf("another digest: %v", err)
	}
	for name, changed := range map[string][]byte{"damaged": flip(bytes.Clone(data)), "longer": append(bytes.Clone(data), 0), "cut": data[:700], "emptied": nil} {
		_, err := Source{Path: write(t, changed), Limits: roomy}.Read(context.Background(), newStore(t), 0, "sha256:"+sum)
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "has changed since the plan") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadRefusesWhatIsNoFile(t *testing.T) {
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing"), "/dev/zero"} {
		if _, err := read(t, Source{Path: path}); fault.ClassOf(err) != fault.Input {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestReadStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a := Source{Path: write(t, pack(t, sample()...)), Limits: roomy}
	if _, err := a.Pin(ctx, nil, 0); err == nil {
		t.Error("Pin went on")
	}
	if _, err := a.Read(ctx, newStore(t), 0, ""); err == nil {
		t.Error("Read went on")
	}
}

func FuzzUnpack(f *testing.F) {
	plain := pack(f, sample()...)
	f.Add(plain)
	for _, name := range []string{"gzip", "xz", "zstd"} {
		f.Add(tool(f, name, name, plain, "-c"))
	}
	s := newStore(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Unpack(context.Background(), bytes.NewReader(data), s, 0, roomy)
		if err == nil && source.Digest(got) == "" {
			t.Error("no digest")
		}
	})
}
