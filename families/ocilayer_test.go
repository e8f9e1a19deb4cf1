package families

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// TestOCIRootDigest computes the root digest from the root layers alone.
func TestOCIRootDigest(t *testing.T) {
	in := ociInput(t, "amd64")
	checkRootDigest(t, in)
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		randomRoot(t, rng, &in)
		checkRootDigest(t, in)
	}
}

func checkRootDigest(t *testing.T, in Input) {
	t.Helper()
	_, dir := build(t, oci{}, in)
	got := tree.New(0)
	for _, name := range layerNames(t, dir, "root") {
		apply(t, got, in.Store, filepath.Join(dir, name))
	}
	if a, b := digestOf(t, got), digestOf(t, in.Tree); a != b {
		t.Errorf("the root layers have the digest %x, the root has %x", a, b)
	}
}

func digestOf(t *testing.T, root *tree.Tree) [32]byte {
	t.Helper()
	digest, err := composefs.WriteImage(io.Discard, root)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// layerNames lists the layers of a kind, or of all kinds for "".
func layerNames(t *testing.T, dir, kind string) []string {
	t.Helper()
	_, manifest := openImage(t, dir)
	var names []string
	for _, l := range manifest.Layers {
		if kind == "" || l.Annotations[ociLayer] == kind {
			names = append(names, "blobs/sha256/"+l.Digest.Hex)
		}
	}
	return names
}

// apply puts a layer over a tree.
func apply(t *testing.T, over *tree.Tree, contents *store.Store, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if zip.Name != "" || !zip.ModTime.IsZero() {
		t.Errorf("the gzip header has the name %q and the time %v", zip.Name, zip.ModTime)
	}
	r := tar.NewReader(zip)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if hidden, whiteout := strings.CutPrefix(path.Base(h.Name), ".wh."); whiteout {
			err = over.Remove(path.Join(path.Dir(h.Name), hidden))
		} else if h.Typeflag == tar.TypeLink {
			err = over.Link(h.Linkname, h.Name)
		} else {
			err = over.Put(h.Name, inodeOf(t, h, r, contents))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func inodeOf(t *testing.T, h *tar.Header, r io.Reader, contents *store.Store) *tree.Inode {
	t.Helper()
	types := map[byte]uint32{
		tar.TypeReg: tree.TypeRegular, tar.TypeDir: tree.TypeDir, tar.TypeSymlink: tree.TypeSymlink,
		tar.TypeFifo: tree.TypeFifo, tar.TypeChar: tree.TypeChar, tar.TypeBlock: tree.TypeBlock,
	}
	typ, known := types[h.Typeflag]
	if !known {
		t.Fatalf("%q has the type %q", h.Name, h.Typeflag)
	}
	i := &tree.Inode{
		Mode: typ | uint32(h.Mode), UID: uint32(h.Uid), GID: uint32(h.Gid), Target: h.Linkname,
		Mtime: h.ModTime.Unix(), MtimeNsec: uint32(h.ModTime.Nanosecond()),
		Major: uint32(h.Devmajor), Minor: uint32(h.Devminor), Xattrs: map[string]string{},
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			i.Xattrs[name] = value
		}
	}
	if i.IsRegular() {
		var err error
		if i.Content, i.Size, err = contents.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

// randomRoot fills a tree with all types of files.
func randomRoot(t *testing.T, rng *rand.Rand, in *Input) {
	t.Helper()
	in.Tree = tree.New(rng.Int64N(1 << 32))
	dirs, files := []string{""}, []string{}
	for n := range rng.IntN(150) {
		name := dirs[rng.IntN(len(dirs))] + fmt.Sprintf("%c%d%s", 'a'+rng.IntN(26), n, strings.Repeat("é", rng.IntN(60)))
		i := &tree.Inode{Mode: rng.Uint32N(0o10000), UID: rng.Uint32(), GID: rng.Uint32(), Mtime: rng.Int64N(1<<34) - 1<<33, MtimeNsec: rng.Uint32N(2) * rng.Uint32N(1e9)}
		for range rng.IntN(3) {
			i.Xattrs = map[string]string{fmt.Sprintf("user.x%d", rng.IntN(9)): strings.Repeat("\x00v", rng.IntN(100))}
		}
		switch rng.IntN(6) {
		case 0:
			i.Mode |= tree.TypeDir
			dirs = append(dirs, name+"/")
		case 1:
			i.Mode, i.Target = i.Mode|tree.TypeSymlink, strings.Repeat("t", 1+rng.IntN(300))
		case 2:
			i.Mode, i.Major, i.Minor = i.Mode|tree.TypeBlock, rng.Uint32N(4096), rng.Uint32N(1<<20)
		case 3:
			if len(files) > 0 {
				if err := in.Tree.Link(files[rng.IntN(len(files))], name); err != nil {
					t.Fatal(err)
				}
				continue
			}
			i.Mode |= tree.TypeFifo
		default:
			var err error
			if i.Content, i.Size, err = in.Store.Put(strings.NewReader(strings.Repeat(name, rng.IntN(100)))); err != nil {
				t.Fatal(err)
			}
			i.Mode |= tree.TypeRegular
		}
		if err := in.Tree.Put(name, i); err != nil {
			t.Fatal(err)
		}
		if !i.IsDir() {
			files = append(files, name)
		}
	}
}
