package iso

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

var epoch = time.Date(2026, 11, 22, 10, 20, 30, 0, time.UTC)

// config is a volume whose boot image has 3 sectors of 2048 bytes.
func config() Config {
	boot := extent.New(3 * SectorSize)
	boot.AddBytes(510, []byte{0x55, 0xaa})
	return Config{
		VolumeID: "BOOTSMITH_TEST",
		Time:     epoch,
		Boot:     Boot{Image: boot, Path: "efi.img", CatalogPath: "boot.cat"},
	}
}

func regular(path, data string) Entry {
	return Entry{Path: path, Mode: 0o444, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(data)), nil
	}}
}

func link(path, target string) Entry {
	return Entry{Path: path, Mode: fs.ModeSymlink | 0o777, Target: target}
}

// longLink is a link whose target takes several SL fields; isovfy crashes on it.
const longLink = "long link"

// hardTree has what is hard to store.
func hardTree() []Entry {
	long := strings.Repeat("long-name.", 25)
	entries := []Entry{
		regular("root.img", strings.Repeat("root", 5000)),
		regular("empty", ""),
		regular("one sector", strings.Repeat("x", SectorSize)),
		regular(long+"one", "first long name"),
		regular(long+"two", "second long name"),
		regular(strings.Repeat("é", 120), "not ASCII"),
		regular("with\tcontrol:and*more?", "not in Joliet"),
		regular("name", "n"), regular("Name", "N"), regular("NAME", "NN"), regular("name.", "n."), regular("name1", "1"),
		regular(".hidden", "h"), regular("many.dots.in.a.name", "d"), regular("x.longextension", "e"),
		regular("a/b/c/d/e/f/g/deepest", "at the eighth level"),
		{Path: "empty directory", Mode: fs.ModeDir | 0o500},
		{Path: "writable", Mode: 0o755, Open: regular("", "").Open},
		{Path: strings.Repeat("d", 200), Mode: fs.ModeDir | 0o755},
		link("link", "root.img"), link("absolute", "/a/./b/../b"), link("to the root", "/"), link("up", "../.."),
		link(longLink, strings.Repeat("element/", 127)+"end"),
		link("long element", strings.Repeat("e", 255)+"/"+strings.Repeat("f", 255)),
	}
	for i := range 300 {
		entries = append(entries, regular(fmt.Sprintf("many/file number %03d", i), fmt.Sprint(i)))
	}
	return entries
}

func newImage(t testing.TB, cfg Config, entries []Entry) *extent.Image {
	t.Helper()
	image, err := New(cfg, entries)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestStructure(t *testing.T) {
	path := foreign.Save(t, newImage(t, config(), hardTree()))
	report := foreign.Run(t, "xorriso", "xorriso", "-indev", path, "-report_el_torito", "plain", "-pvd_info")
	for _, want := range []string{
		"Volume id    : 'BOOTSMITH_TEST'", "El Torito catalog  :", "El Torito images   :   N  Pltf  B",
		"El Torito boot img :   1  UEFI  y   none", "El Torito cat path : /boot.cat", "El Torito img path :   1  /efi.img",
		"Creation Time: 2026112210203000", "Preparer Id  : BOOTSMITH",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("xorriso does not say %q:\n%s", want, report)
		}
	}
	report = foreign.Run(t, "genisoimage", "isoinfo", "-d", "-i", path)
	for _, want := range []string{"Joliet with UCS level 3 found", "Rock Ridge signatures version 1 found", "Eltorito validation header", "Bootid 88 (bootable)"} {
		if !strings.Contains(report, want) {
			t.Errorf("isoinfo does not say %q:\n%s", want, report)
		}
	}
}

// TestRecordOrder reads the directories of both trees as they are stored.
func TestRecordOrder(t *testing.T) {
	for _, joliet := range []bool{false, true} {
		root, err := buildTree(hardTree())
		if err != nil {
			t.Fatal(err)
		}
		h, err := newHierarchy(root, joliet, epoch)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range h.dirs {
			for i := 1; i < len(d.entries); i++ {
				if a, b := d.entries[i-1].id, d.entries[i].id; bytes.Equal(a, b) {
					t.Errorf("%q is there twice", a)
				}
			}
			for _, e := range d.entries {
				if limit := 31 + 2; !joliet && len(e.id) > limit || joliet && len(e.id) > 2*(64+2) {
					t.Errorf("%q is too long", e.id)
				}
			}
			records, more := h.encode(d)
			if len(records)%SectorSize != 0 || len(more)%SectorSize != 0 {
				t.Errorf("%q takes %d and %d bytes", d.node.name, len(records), len(more))
			}
		}
	}
}

func TestDeterminism(t *testing.T) {
	entries := hardTree()
	one := readAll(t, newImage(t, config(), entries))
	slices.Reverse(entries)
	if two := readAll(t, newImage(t, config(), entries)); !bytes.Equal(one, two) {
		t.Error("the order of the entries changes the volume")
	}
}

func readAll(t *testing.T, image *extent.Image) []byte {
	t.Helper()
	r, err := image.NewReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPlacement(t *testing.T) {
	cfg := config()
	cfg.Boot.Offset, cfg.Tail = 1<<20, 3*SectorSize-1
	image := newImage(t, cfg, []Entry{regular("root.img", "content")})
	data := readAll(t, image)
	if len(data) != 1<<20+(3+1+3)*SectorSize {
		t.Errorf("%d bytes", len(data))
	}
	if !bytes.Equal(data[1<<20+510:1<<20+512], []byte{0x55, 0xaa}) || !bytes.HasPrefix(data[1<<20+3*SectorSize:], []byte("content\x00")) {
		t.Error("boot image and file are not in their places")
	}
	if !bytes.Equal(data[:16*SectorSize], make([]byte, 16*SectorSize)) {
		t.Error("the system area is not empty")
	}
}

func TestErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		entry  Entry
		want   string
	}{
		"twice":        {nil, regular("efi.img", ""), "there twice"},
		"below a file": {nil, regular("efi.img/x", ""), "not a directory"},
		"deep":         {nil, regular("1/2/3/4/5/6/7/8/9", ""), "deeper than 8"},
		"deep dir":     {nil, Entry{Path: "1/2/3/4/5/6/7/8", Mode: fs.ModeDir}, "deeper than 8"},
		"parent":       {nil, regular("../x", ""), "not allowed"},
		"absolute":     {nil, regular("/x", ""), "not allowed"},
		"nothing":      {nil, regular("", ""), "not allowed"},
		"device":       {nil, Entry{Path: "x", Mode: fs.ModeDevice}, "is not of a file"},
		"size":         {nil, Entry{Path: "x", Size: -1}, "-1 bytes"},
		"huge":         {nil, Entry{Path: "x", Size: 1 << 43}, "more than 4294967295 sectors"},
		"target":       {nil, link("x", "a//b"), "empty element"},
		"no target":    {nil, link("x", ""), "1 to 1023 bytes"},
		"volume id":    {func(c *Config) { c.VolumeID = "lower" }, Entry{}, "volume identifier"},
		"time":         {func(c *Config) { c.Time = time.Unix(1<<33, 0) }, Entry{}, "year 2242"},
		"offset":       {func(c *Config) { c.Boot.Offset = 40960 }, regular("x", ""), "placing the boot image"},
		"tail":         {func(c *Config) { c.Tail = 1 << 43 }, regular("x", ""), "at most 4294967295"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config()
			if tc.change != nil {
				tc.change(&cfg)
			}
			if _, err := New(cfg, []Entry{tc.entry}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestVolumeID(t *testing.T) {
	for name, want := range map[string]string{
		"debian-13-server":       "DEBIAN_13_SERVER",
		"é":                      "_",
		strings.Repeat("ab", 20): strings.Repeat("AB", 16),
	} {
		if got := VolumeID(name); got != want || !isVolumeID(got) {
			t.Errorf("VolumeID(%q) = %q, want %q", name, got, want)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// discard is an extent.Writer that keeps nothing.
type discard struct{ io.Writer }

func (discard) Skip(int64) error { return nil }

// BenchmarkCopy lays out and writes a volume with a file of 64 MiB.
func BenchmarkCopy(b *testing.B) {
	data := make([]byte, 64<<20)
	entry := regular("root.img", "")
	entry.Size = int64(len(data))
	entry.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := newImage(b, config(), []Entry{entry}).Copy(b.Context(), discard{io.Discard}); err != nil {
			b.Fatal(err)
		}
	}
}
