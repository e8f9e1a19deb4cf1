package ext4

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/families/internal/extent"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

const debianPackage = "e2fsprogs"

func config(size int64) Config {
	return Config{
		Size: size, Label: "persist",
		UUID: [16]byte{0x1c, 0x2d, 0x3e, 0x4f, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16},
		Time: time.Date(2025, 11, 22, 10, 20, 30, 0, time.UTC),
	}
}

func layOut(t testing.TB, cfg Config) *extent.Image {
	t.Helper()
	img, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// checkClean lets e2fsck judge the image and returns its file.
func checkClean(t testing.TB, img *extent.Image) string {
	t.Helper()
	path := foreign.Save(t, img)
	out := foreign.Run(t, debianPackage, "e2fsck", "-fn", path)
	if strings.Contains(out, "?") || strings.Contains(out, "WARNING") {
		t.Errorf("e2fsck would mend something:\n%s", out)
	}
	return path
}

// TestSizes goes to the limits of each choice that depends on the size.
func TestSizes(t *testing.T) {
	const mib, gib, tib = 1 << 20, 1 << 30, 1 << 40
	for _, size := range []int64{
		MinSize, 17*mib + 512, 128*mib - 4096, 128 * mib, 128*mib + 4096, 129 * mib, 512*mib - 4096, 512 * mib,
		gib - 4096, gib, 2 * gib, 16 * gib, 100*gib + 12345, tib, 4*tib - 4096, 4 * tib,
	} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			img := layOut(t, config(size))
			if img.Size() != size {
				t.Errorf("the image has %d bytes", img.Size())
			}
			path := checkClean(t, img)
			if used := allocated(t, path); used > 1<<20+size/(64<<10) {
				t.Errorf("%d bytes take %d on disk", size, used)
			}
		})
	}
}

// TestMaxSize has no file: few file systems hold one of that size.
func TestMaxSize(t *testing.T) {
	geo := newGeometry(MaxSize)
	if geo.used(0) > blocksPerGroup || geo.inodesPerGroup*geo.groups > 1<<32-1 {
		t.Errorf("%+v", geo)
	}
	if img := layOut(t, config(MaxSize)); img.Size() != MaxSize {
		t.Errorf("%d", img.Size())
	}
}

func allocated(t testing.TB, path string) int64 {
	t.Helper()
	var blocks int64
	if _, err := fmt.Sscan(foreign.Run(t, "coreutils", "stat", "-c", "%b", path), &blocks); err != nil {
		t.Fatal(err)
	}
	return blocks * 512
}

// TestRandomSizes makes sure that no size is special.
func TestRandomSizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		size := int64(MinSize) + rng.Int64N(1<<(24+rng.IntN(14)))
		t.Run(fmt.Sprint(size), func(t *testing.T) { checkClean(t, layOut(t, config(size))) })
	}
}

// TestGeometry holds for every size what the readers above saw for some.
func TestGeometry(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		size := int64(MinSize) + rng.Int64N(1<<(20+rng.IntN(24)))
		geo := newGeometry(min(size, MaxSize))
		last := geo.groups - 1
		switch {
		case geo.blocks*blockSize > size || geo.blocks <= last*blocksPerGroup || geo.blocks > geo.groups*blocksPerGroup:
			t.Fatalf("%d bytes: %+v has the wrong number of blocks", size, geo)
		case geo.used(0) >= geo.groupBlocks(0) || geo.used(last) >= geo.groupBlocks(last):
			t.Fatalf("%d bytes: %+v has too small a group", size, geo)
		case size-geo.blocks*blockSize > (geo.overhead(geo.groups)+minGroup+1)*blockSize:
			t.Fatalf("%d bytes: %+v wastes space", size, geo)
		case geo.inodesPerGroup%inodesPerBlock != 0 || geo.inodesPerGroup > 8*blockSize || geo.inodesPerGroup < 2048:
			t.Fatalf("%d bytes: %+v has a bad number of inodes", size, geo)
		}
	}
}

func TestProperties(t *testing.T) {
	path := checkClean(t, layOut(t, config(300<<20)))
	listing := foreign.Run(t, debianPackage, "dumpe2fs", path)
	for _, want := range []string{
		"Filesystem volume name:   persist\n",
		"Filesystem UUID:          1c2d3e4f-0506-4708-890a-0b0c0d0e0f10\n",
		"Filesystem features:      has_journal ext_attr dir_index filetype extent 64bit sparse_super large_file huge_file dir_nlink extra_isize metadata_csum\n",
		"Filesystem state:         clean\n",
		"Errors behavior:          Remount read-only\n",
		"Default mount options:    user_xattr acl\n",
		"Block count:              76800\n",
		"Block size:               4096\n",
		"Filesystem created:       Sat Nov 22 10:20:30 2025\n",
		"Last checked:             Sat Nov 22 10:20:30 2025\n",
		"Maximum mount count:      -1\n",
		"Journal inode:            8\n",
		"Journal backup:           inode blocks\n",
		"Checksum type:            crc32c\n",
		"Total journal size:       16M\n",
		"Journal sequence:         0x00000001\n",
		"Journal start:            0\n",
		"Backup superblock at 32768",
		"INODE_UNINIT, BLOCK_UNINIT, ITABLE_ZEROED",
	} {
		if !strings.Contains(listing, want) {
			t.Errorf("dumpe2fs doesn't say %q:\n%s", want, listing)
		}
	}
	foreign.Run(t, debianPackage, "tune2fs", "-l", path)
	files := foreign.Run(t, debianPackage, "debugfs", "-R", "ls -l /", path)
	if !strings.Contains(files, "40700 (2)      0      0   16384 22-Nov-2025 10:20 lost+found") {
		t.Error(files)
	}
}

// TestWrite has debugfs allocate and e2fsck check what it made.
func TestWrite(t *testing.T) {
	path := foreign.Save(t, layOut(t, config(200<<20)))
	data := bytes.Repeat([]byte("persistent\n"), 12<<20/11)
	src := path + ".data"
	if err := os.WriteFile(src, data, 0o600); err != nil {
		t.Fatal(err)
	}
	// debugfs reports errors on the output only.
	for _, command := range []string{"mkdir etc", "write " + src + " etc/file", "symlink etc/link file"} {
		foreign.Run(t, debianPackage, "debugfs", "-w", "-R", command, path)
	}
	foreign.Run(t, debianPackage, "e2fsck", "-fn", path)
	foreign.Run(t, debianPackage, "debugfs", "-R", "dump etc/file "+src+".out", path)
	if got, err := os.ReadFile(src + ".out"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
}

// TestBackups loses the first superblock.
func TestBackups(t *testing.T) {
	path := foreign.Save(t, layOut(t, config(1<<30)))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 2*blockSize), 0); err != nil {
		t.Fatal(err)
	}
	foreign.Try(t, debianPackage, "e2fsck", "-fy", "-b", "32768", "-B", "4096", path)
	foreign.Run(t, debianPackage, "e2fsck", "-fn", path)
}

// TestGrow resizes the file system as an operator with a larger disk would.
func TestGrow(t *testing.T) {
	path := foreign.Save(t, layOut(t, config(100<<20)))
	if err := os.Truncate(path, 3<<30); err != nil {
		t.Fatal(err)
	}
	foreign.Run(t, debianPackage, "resize2fs", path)
	foreign.Run(t, debianPackage, "e2fsck", "-fn", path)
	if out := foreign.Run(t, debianPackage, "dumpe2fs", "-h", path); !strings.Contains(out, "Block count:              786432\n") {
		t.Error(out)
	}
}

func sum(t testing.TB, cfg Config) [32]byte {
	t.Helper()
	r, err := layOut(t, cfg).NewReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

func TestDeterministic(t *testing.T) {
	cfg := config(150 << 20)
	first := sum(t, cfg)
	// Only the instant counts.
	cfg.Time = cfg.Time.In(time.FixedZone("elsewhere", 3600)).Add(999 * time.Millisecond)
	if sum(t, cfg) != first {
		t.Error("the time zone changes the image")
	}
	for name, change := range map[string]func(*Config){
		"label": func(c *Config) { c.Label = "other" },
		"UUID":  func(c *Config) { c.UUID[0]++ },
		"time":  func(c *Config) { c.Time = c.Time.Add(time.Second) },
		"size":  func(c *Config) { c.Size += blockSize },
	} {
		other := config(150 << 20)
		change(&other)
		if sum(t, other) == first {
			t.Errorf("the %s changes nothing", name)
		}
	}
}

func TestLateTime(t *testing.T) {
	for _, year := range []int{1970, 2037, 2040, 2105} {
		cfg := config(MinSize)
		cfg.Time = time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
		path := foreign.Save(t, layOut(t, cfg))
		out := foreign.Run(t, debianPackage, "debugfs", "-R", "stat <2>", path)
		if want := fmt.Sprintf("Jun  1 00:00:00 %d", year); strings.Count(out, want) != 4 {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestRefused(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"not within":      func(c *Config) { c.Size = MinSize - 1 },
		"not within 1677": func(c *Config) { c.Size = MaxSize + 1 },
		"longer than 16":  func(c *Config) { c.Label = strings.Repeat("x", 17) },
		"holds a NUL":     func(c *Config) { c.Label = "a\x00b" },
		"can't be stored": func(c *Config) { c.Time = time.Unix(-1, 0) },
		"can't be":        func(c *Config) { c.Time = time.Unix(1<<34, 0) },
	} {
		cfg := config(MinSize)
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
