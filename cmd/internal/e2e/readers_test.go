package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// reader is somebody else's program, with the Debian package that has it.
type reader struct{ pkg, name string }

// run runs the program in dir and returns its standard output. It fails the
// test when the program is missing or ends with an error: a skipped check must
// not look like a passed one.
func (r reader) run(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	return r.feed(t, dir, nil, args...)
}

// feed is run with a standard input.
func (r reader) feed(t *testing.T, dir string, stdin io.Reader, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(r.find(t), args...)
	cmd.Dir, cmd.Stdin = dir, stdin
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8", "TZ=UTC", "MTOOLS_SKIP_CHECK=0"}
	out, err := cmd.Output()
	if err != nil {
		said := ""
		if e, ok := err.(*exec.ExitError); ok {
			said = string(e.Stderr)
		}
		t.Fatalf("%s %q: %v\n%s%s", r.name, args, err, out, said)
	}
	return out
}

// find looks into the sbin folders as well, which users' PATH may lack.
func (r reader) find(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath(r.name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, r.name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatalf("%s is missing; install the Debian package %s", r.name, r.pkg)
	return ""
}

// partition is a row of a GPT, in bytes.
type partition struct {
	start, size int64
	typeGUID    string
}

// partitionOf lets sgdisk read a partition's row.
func partitionOf(t *testing.T, disk string, number int) partition {
	t.Helper()
	text := string(sgdisk.run(t, "", "-i", strconv.Itoa(number), disk))
	field := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("sgdisk says nothing of %q about partition %d:\n%s", pattern, number, text)
		}
		return m[1]
	}
	sectors := func(pattern string) int64 {
		n, err := strconv.ParseInt(field(pattern), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n * 512
	}
	return partition{
		start: sectors(`First sector: (\d+)`), size: sectors(`Partition size: (\d+) sectors`),
		typeGUID: field(`Partition GUID code: (\S+)`),
	}
}

// carve copies a part of a file to a file of its own.
func carve(t *testing.T, path string, offset, size int64) string {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.CreateTemp(t.TempDir(), "part-*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, io.NewSectionReader(in, offset, size)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

func sumOf(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func sumOfFile(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return sumOf(t, f)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
