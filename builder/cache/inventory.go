package cache

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/powernode/bootsmith/builder/source/deb"
	"github.com/powernode/bootsmith/builder/tree"
)

// Kind is a sort of things in a cache's folder.
type Kind string

// The kinds, in the order in which they are listed.
const (
	Stages   Kind = "stages"   // entries with their blobs
	Objects  Kind = "objects"  // contents of root trees
	Packages Kind = "packages" // .deb files, their listings, and indexes
	Images   Kind = "images"   // blobs of container images
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Stages, Objects, Packages, Images} }

// folders are where things of a kind lie, beside stages and objects. A thing is
// one file, and last used when it was last read, as far as the file system
// records that.
func folders() map[string]Kind {
	return map[string]Kind{
		"sha256": Packages, listingsDir: Packages, "release": Packages, "resolved": Packages,
		"images": Images,
	}
}

const (
	objectsDir  = "objects"
	listingsDir = "unpacked"
)

// TreeMediaType is the media type of a file that holds an encoded tree. The
// tree's contents are in the object store.
const TreeMediaType = "application/vnd.powernode.bootsmith.tree.v1"

// MaxTree bounds an encoded tree, in bytes.
const MaxTree = 1 << 30

// thing is what can be deleted by itself.
type thing struct {
	kind  Kind
	path  string
	size  int64
	used  time.Time
	entry *Entry // of a stage
}

// uses are the blobs and objects that a thing needs, each once.
type uses []*sharedFile

// inventory is all that is in a cache's folder.
type inventory struct {
	dir    string
	things []thing
	// shared are blobs and objects, by path.
	shared map[string]*sharedFile
	junk   []thing // damaged entries and files that nobody finished
}

// sharedFile is a blob or an object.
type sharedFile struct {
	kind  Kind
	path  string
	size  int64
	users int    // things that need it
	of    *thing // the last thing that was found to need it
}

// takeInventory reads a cache's folder; the things are sorted by use, the
// oldest first.
func takeInventory(dir string) (*inventory, error) {
	inv := &inventory{dir: dir, shared: map[string]*sharedFile{}}
	err := walkFiles(filepath.Join(dir, stagesDir), inv.addEntry)
	for _, d := range []string{blobsDir, objectsDir} {
		kind := map[string]Kind{blobsDir: Stages, objectsDir: Objects}[d]
		err = errors.Join(err, walkFiles(filepath.Join(dir, d), func(path string, info fs.FileInfo) error {
			if isDigest(filepath.Base(filepath.Dir(path)) + filepath.Base(path)) {
				inv.shared[path] = &sharedFile{kind: kind, path: path, size: info.Size()}
			} else {
				inv.junk = append(inv.junk, thing{kind: kind, path: path, size: info.Size()})
			}
			return nil
		}))
	}
	for d, kind := range folders() {
		err = errors.Join(err, walkFiles(filepath.Join(dir, d), func(path string, info fs.FileInfo) error {
			t := thing{kind: kind, path: path, size: info.Size(), used: lastUse(info)}
			if filepath.Base(path)[0] == '.' {
				inv.junk = append(inv.junk, t)
			} else {
				inv.things = append(inv.things, t)
			}
			return nil
		}))
	}
	slices.SortFunc(inv.things, func(a, b thing) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path))
	})
	return inv, err
}

func (inv *inventory) addEntry(path string, info fs.FileInfo) error {
	t := thing{kind: Stages, path: path, size: info.Size(), used: info.ModTime()}
	var err error
	if t.entry, err = readEntry(path); err == nil && entryFile(inv.dir, t.entry.Key) == path {
		inv.things = append(inv.things, t)
		return nil
	}
	if err == nil || IsDamage(err) {
		inv.junk = append(inv.junk, t)
		return nil
	}
	return err
}

// lastUse returns the later of the times of reading and writing.
func lastUse(info fs.FileInfo) time.Time {
	used := info.ModTime()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if read := time.Unix(st.Atim.Unix()); read.After(used) {
			used = read
		}
	}
	return used
}

// walkFiles calls fn for all files below a folder, which may be missing.
func walkFiles(dir string, fn func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is gone: a build may be running
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(path, info)
	})
}

// usesOf returns what a thing needs of what is there. A listing or tree that
// can't be read is a DamageError.
func (inv *inventory) usesOf(t *thing) (uses, error) {
	var u uses
	switch {
	case t.entry != nil:
		for digest := range t.entry.Blobs() {
			u.add(t, inv.shared[blobFile(inv.dir, digest)])
		}
		return u, inv.addTrees(&u, t)
	case isBelow(t.path, filepath.Join(inv.dir, listingsDir)):
		data, err := os.ReadFile(t.path)
		// To look at it is not to use it.
		if err = errors.Join(err, os.Chtimes(t.path, t.used, time.Time{})); err != nil {
			return nil, err
		}
		p, err := deb.Unmarshal(data)
		if err != nil {
			return nil, damaged("%v", err)
		}
		for i := range p.Entries {
			u.add(t, inv.object(&p.Entries[i].Inode))
		}
	}
	return u, nil
}

// add adds a file unless the thing uses it already; nil is none.
func (u *uses) add(t *thing, f *sharedFile) {
	if f != nil && f.of != t {
		f.of = t
		*u = append(*u, f)
	}
}

func (inv *inventory) addTrees(u *uses, thing *thing) error {
	c := &Cache{dir: inv.dir}
	for _, f := range thing.entry.Files {
		if f.MediaType != TreeMediaType {
			continue
		}
		data, err := c.ReadBytes(f.SHA256, MaxTree)
		if err != nil {
			return err
		}
		t, err := tree.Decode(data)
		if err != nil {
			return damaged("%v", err)
		}
		_ = t.Walk(func(_ string, n *tree.Node) error {
			u.add(thing, inv.object(n.Inode))
			return nil
		})
	}
	return nil
}

// object returns a file's object, nil when it has none or it isn't there.
func (inv *inventory) object(i *tree.Inode) *sharedFile {
	if !i.IsRegular() || i.Size <= tree.InlineMax {
		return nil
	}
	digest := hexOf(i.Content.Verity[:])
	return inv.shared[filepath.Join(inv.dir, objectsDir, digest[:2], digest[2:])]
}

func isBelow(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
