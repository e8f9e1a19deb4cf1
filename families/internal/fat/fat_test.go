package fat

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/families/internal/foreign"
)

// trickyNames are pairs and oddities that make short names collide.
var trickyNames = []string{
	"EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grub.cfg", "loader/loader.conf", "loader/loader.cond", "loader/loader.cone",
	"loader/LOADER~1.CON", "loader/entries/bootsmith-2026-11-22-server.conf", "identity.cfg", ".hidden", ".hidden.txt", "a b", "a+b", "a  b",
	"name;v", "name+v", "name,v", "name=v", "[x].y", "x.y.z", "..two", "no-extension-at-all", "UPPER.TXT", "Mixed.Txt",
	"grüße.txt", "日本語.txt", "emoji-🚀.bin", "exactly-13-ch", "twenty-six-characters-name", strings.Repeat("l", 255),
	"d1/d2/d3/d4/d5/d6/d7/d8/d9/deep.txt", "TILDE~1", "tilde-name-1", "tilde-name-2", "$%'-_@~", "`!(){}^.#&", "empty", "sub/empty",
}

func trickyFiles() []File {
	var files []File
	for i, name := range trickyNames {
		size := []int{0, 1, 511, 512, 513, 70000}[i%6]
		if strings.HasSuffix(name, "empty") {
			size = 0
		}
		files = append(files, memFile(name, bytes.Repeat([]byte(name)[:1], size)))
	}
	return files
}

func TestTrickyNames(t *testing.T) {
	files := trickyFiles()
	path := foreign.Save(t, mustNew(t, config, files))
	check(t, path)
	readBack(t, path, files)
	fs := openDiskfs(t, path)
	for _, f := range files {
		if beyondBMP(f.Path) || f.Size == 0 {
			continue // go-diskfs wants a cluster of an empty file, which has none
		}
		got := sum(t, func() (io.ReadCloser, error) { return fs.OpenFile("/"+f.Path, os.O_RDONLY) })
		if got != sum(t, f.Open) {
			t.Errorf("%q differs when go-diskfs reads it", f.Path)
		}
	}
	if got := strings.TrimSpace(fs.Label()); got != "ESP" {
		t.Errorf("label %q", got)
	}
	listing := foreign.Run(t, "mtools", "mdir", "-i", path, "::/EFI/BOOT")
	for _, want := range []string{"Volume in drive : is ESP", "1234-ABCD", "BOOTX64  EFI", "2026-11-22  13:14"} {
		if !strings.Contains(listing, want) {
			t.Errorf("mdir does not say %q:\n%s", want, listing)
		}
	}
}

// TestSizes walks over the sizes at which a FAT that is too short by one entry
// shows, and over every cluster size.
func TestSizes(t *testing.T) {
	files := []File{memFile("EFI/BOOT/BOOTX64.EFI", bytes.Repeat([]byte("x"), 100000)), memFile("empty", nil)}
	var sizes []int64
	for mib := int64(33); mib <= 1100; mib += 13 {
		sizes = append(sizes, mib*mebibyte)
	}
	for _, mib := range []int64{64, 129, 194, 259, 260, 261, 505, 506, 507, 762, 763, 1018, 1019, 8192, 8193, 17000, 33000} {
		sizes = append(sizes, mib*mebibyte, mib*mebibyte-sectorSize, mib*mebibyte+sectorSize)
	}
	for _, size := range sizes {
		cfg := config
		cfg.Size = size
		image := mustNew(t, cfg, files)
		if image.Size() != size {
			t.Errorf("%d bytes asked, %d made", size, image.Size())
		}
		path := foreign.Save(t, image)
		check(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("size %d", size)
		}
	}
}

// TestGeometry proves, for many sizes, that the FAT is long enough and not
// longer than one sector too much, and that the volume is used up.
func TestGeometry(t *testing.T) {
	for _, c := range clusterSizes {
		for sectors := minClusters * c.perCluster; sectors < minClusters*c.perCluster+300*c.perCluster; sectors++ {
			checkGeometry(t, divide(sectors, c.perCluster))
		}
		for clusters := int64(minClusters); clusters < minClusters+100000; clusters += 997 {
			size := volumeSize(clusters, c.perCluster)
			geo := divide(size/sectorSize, c.perCluster)
			if geo.clusters < clusters {
				t.Fatalf("%d bytes have %d clusters, want %d", size, geo.clusters, clusters)
			}
		}
	}
}

func checkGeometry(t *testing.T, g geometry) {
	t.Helper()
	used := reservedSectors + 2*g.fatSectors + g.clusters*g.perCluster
	if g.fatSectors*entriesPerSector < g.clusters+rootCluster {
		t.Fatalf("%+v: the FAT is too short", g)
	}
	if (g.fatSectors-2)*entriesPerSector >= g.clusters+rootCluster {
		t.Fatalf("%+v: the FAT is too long", g)
	}
	if used > g.sectors || used+g.perCluster+1 < g.sectors-1 {
		t.Fatalf("%+v: %d sectors used", g, used)
	}
}

func TestGrowsWithContent(t *testing.T) {
	for _, size := range []int64{0, 30 << 20, 33 << 20, 250 << 20, 256 << 20, 3 << 30} {
		files := []File{zeroFile("big", size), memFile("small", []byte("x"))}
		cfg := config
		cfg.Free = 4 << 20
		image := mustNew(t, cfg, files)
		if image.Size()%mebibyte != 0 || image.Size() < 33<<20 {
			t.Errorf("%d bytes of content: volume of %d bytes", size, image.Size())
		}
		// The root, both files and the free space fit into what the FATs leave.
		if waste := image.Size() - max(size+cfg.Free, 32<<20); waste < 0 || waste > 3<<20+size/60 {
			t.Errorf("%d bytes of content: volume of %d bytes", size, image.Size())
		}
		if size < 1<<30 {
			check(t, foreign.Save(t, image))
		}
	}
}

func TestManyFiles(t *testing.T) {
	var files []File
	for i := range 5000 {
		files = append(files, memFile(fmt.Sprintf("dir/a long name %04d.conf", i), []byte{byte(i)}))
	}
	path := foreign.Save(t, mustNew(t, config, files))
	check(t, path)
	readBack(t, path, files)
}

// TestRandomTrees is the property: whatever the tree, fsck.vfat is content and
// mtools reads the files back.
func TestRandomTrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		files := randomFiles(rng)
		path := foreign.Save(t, mustNew(t, config, files))
		check(t, path)
		readBack(t, path, files)
		if t.Failed() {
			for _, f := range files {
				t.Logf("%q %d", f.Path, f.Size)
			}
			return
		}
	}
}

func randomFiles(rng *rand.Rand) []File {
	var files []File
	var paths []string
	alphabet := []rune("aAbB01.~ +;é漢_-")
	name := func() string {
		for {
			var b strings.Builder
			for range 1 + rng.IntN(20) {
				b.WriteRune(alphabet[rng.IntN(len(alphabet))])
			}
			if checkName(b.String()) == nil {
				return b.String()
			}
		}
	}
	dirs := []string{""}
	taken := map[string]bool{}
	for range 1 + rng.IntN(80) {
		path := dirs[rng.IntN(len(dirs))] + name()
		if taken[fold(path)] {
			continue
		}
		taken[fold(path)] = true
		if rng.IntN(5) == 0 {
			dirs = append(dirs, path+"/")
			path += "/" + name()
			taken[fold(path)] = true
		}
		paths = append(paths, path)
	}
	for _, path := range paths {
		data := make([]byte, rng.IntN(3000)*rng.IntN(2))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		files = append(files, memFile(path, data))
	}
	return files
}

func TestDeterminism(t *testing.T) {
	files := trickyFiles()
	one := imageSum(t, config, files)
	slices.Reverse(files)
	here := config
	here.Time = here.Time.In(time.FixedZone("elsewhere", -7*3600))
	if two := imageSum(t, here, files); one != two {
		t.Error("the order of the files or the time zone changes the image")
	}
}

func imageSum(t *testing.T, cfg Config, files []File) string {
	t.Helper()
	image := mustNew(t, cfg, files)
	return sum(t, func() (io.ReadCloser, error) { return image.NewReader(t.Context()) })
}

func TestErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg   Config
		files []File
		want  string
	}{
		"case":           {config, []File{memFile("a/b", nil), memFile("A/c", nil)}, `adding "a/b": "a" and "A" are the same name on FAT`},
		"twice":          {config, []File{memFile("a", nil), memFile("a", nil)}, `there is "a" already`},
		"file and dir":   {config, []File{memFile("a", nil), memFile("a/b", nil)}, `there is "a" already`},
		"absolute":       {config, []File{memFile("/a", nil)}, `"" is not a name`},
		"parent":         {config, []File{memFile("../a", nil)}, `".." is not a name`},
		"colon":          {config, []File{memFile("a:b", nil)}, `the character ':'`},
		"control":        {config, []File{memFile("a\nb", nil)}, `the character '\n'`},
		"dot":            {config, []File{memFile("a.", nil)}, "ends with a dot"},
		"not UTF-8":      {config, []File{memFile("a\xff", nil)}, "not UTF-8"},
		"long":           {config, []File{memFile(strings.Repeat("é", 256), nil)}, "255 UTF-16"},
		"4 GiB":          {config, []File{zeroFile("a", 1<<32)}, "less than 4 GiB"},
		"label":          {Config{Label: "esp"}, nil, "'e' is not allowed"},
		"long label":     {Config{Label: "ABCDEFGHIJKL"}, nil, "1 to 11 characters"},
		"odd size":       {Config{Size: 1000}, nil, "not a multiple of 512"},
		"small":          {Config{Size: 1 << 20}, nil, "the least is 34603008"},
		"content":        {Config{Size: 40 << 20}, []File{zeroFile("a", 50<<20)}, "the files need 53477376"},
		"beyond the max": {Config{Free: 3 << 40}, nil, "larger than 2 TiB"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tc.cfg, tc.files)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestDirectoryLimit(t *testing.T) {
	var files []File
	for i := range 22000 { // three entries each
		files = append(files, memFile(fmt.Sprintf("d/a-longer-name-%d.text", i), nil))
	}
	if _, err := New(config, files); err == nil || !strings.Contains(err.Error(), "more than 65536 entries") {
		t.Errorf("%v", err)
	}
}

func TestStamp(t *testing.T) {
	for when, want := range map[time.Time]stamp{
		time.Unix(0, 0): {0x21, 0},
		time.Date(2026, 11, 22, 13, 14, 17, 0, time.UTC):            {46<<9 | 11<<5 | 22, 13<<11 | 14<<5 | 8},
		time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC):                 {127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29},
		time.Date(2000, 1, 1, 1, 0, 0, 0, time.FixedZone("", 7200)): {19<<9 | 12<<5 | 31, 23 << 11},
	} {
		if got := newStamp(when); got != want {
			t.Errorf("%v: %x, want %x", when, got, want)
		}
	}
}
