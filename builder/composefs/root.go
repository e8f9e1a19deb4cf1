package composefs

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/dmverity"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Names of the root image's files.
const (
	ImageFile  = "root.cfs" // the composefs image
	ObjectsDir = "objects"  // the folder of objects, named by store.Path
)

// RootImage tells what identifies a root image that was written.
type RootImage struct {
	Digest     [32]byte // fs-verity digest of /root.cfs
	RootHash   [32]byte // of the dm-verity tree
	DataBlocks int64    // 4096-byte blocks of the file system, which the hash area follows
	Size       int64    // of all, in bytes
}

// WriteRootImage writes the root image of a tree, whose objects it reads from
// the store: an EROFS file system with /root.cfs, what WriteImage writes, and
// /objects/xx/…, then a dm-verity superblock and hash tree without a salt. A
// folder /objects/xx is there only when an object is in it. Everything in the
// file system belongs to root, has mode 0644 or 0755 and the epoch as its mtime;
// uuid names the file system and the hash area.
//
// Each object is read once, in the order in which a depth-first walk of the
// tree meets it, and verified while it is read.
func WriteRootImage(ctx context.Context, w io.Writer, t *tree.Tree, s *store.Store, epoch time.Time, uuid [16]byte) (RootImage, error) {
	img, err := newImage(t, plain())
	if err != nil {
		return RootImage{}, err
	}
	r := newRootLayout(img, t, epoch)
	if r.blocks > math.MaxUint32 {
		return RootImage{}, fmt.Errorf("writing the root image: %d blocks are more than EROFS can address", r.blocks)
	}
	hasher, err := dmverity.NewHasher(dmverity.Params{UUID: uuid, DataBlocks: r.blocks})
	if err != nil {
		return RootImage{}, err
	}
	digest, err := r.write(ctx, &tee{w, hasher}, s, uuid)
	if err != nil {
		return RootImage{}, fmt.Errorf("writing the root image: %w", err)
	}
	hashes, err := hasher.Tree()
	if err != nil {
		return RootImage{}, err
	}
	if _, err := hashes.WriteTo(w); err != nil {
		return RootImage{}, err
	}
	return RootImage{
		Digest: digest, RootHash: hashes.RootHash(), DataBlocks: r.blocks,
		Size: r.blocks*erofs.BlockSize + hashes.Size(),
	}, nil
}

// rootLayout is a root image that is laid out: its folders, then all bodies.
type rootLayout struct {
	img    *image
	dirs   *layout
	bodies []*body
	blocks int64
}

// newRootLayout lays out a root image.
func newRootLayout(img *image, t *tree.Tree, epoch time.Time) *rootLayout {
	r := &rootLayout{img: img}
	newFile := func(mode uint32, size int64) *file {
		return &file{mode: mode, size: size, mtime: epoch.Unix(), mtimeNsec: uint32(epoch.Nanosecond())}
	}
	cfs := newFile(tree.TypeRegular|0o644, img.size())
	r.bodies = []*body{{file: cfs}}

	root := newFile(tree.TypeDir|0o755, 0)
	objects := newFile(tree.TypeDir|0o755, 0)
	root.entries = []entry{{name: ObjectsDir, file: objects}, {name: ImageFile, file: cfs}}
	folders := map[byte]*file{}
	seen := map[tree.Digest]bool{}
	_ = t.Walk(func(_ string, n *tree.Node) error {
		c := &n.Inode.Content
		if !n.Inode.IsRegular() || n.Inode.Size <= tree.InlineMax || seen[c.Verity] {
			return nil
		}
		seen[c.Verity] = true
		object := newFile(tree.TypeRegular|0o644, n.Inode.Size)
		r.bodies = append(r.bodies, &body{file: object, object: c})
		folder := folders[c.Verity[0]]
		if folder == nil {
			folder = newFile(tree.TypeDir|0o755, 0)
			folders[c.Verity[0]] = folder
			objects.entries = append(objects.entries, entry{name: hex.EncodeToString(c.Verity[:1]), file: folder})
		}
		folder.entries = append(folder.entries, entry{name: hex.EncodeToString(c.Verity[1:]), file: object})
		return nil
	})
	r.place(root, objects)
	return r
}

// place finds the places of the folders, which come first, and of the bodies.
func (r *rootLayout) place(root, objects *file) {
	root.finishDir(root)
	objects.finishDir(root)
	dirs := []*file{root, objects}
	for _, e := range objects.entries {
		if !e.link {
			e.file.finishDir(objects)
			dirs = append(dirs, e.file)
		}
	}
	for i, d := range dirs {
		d.ino = uint32(i)
	}
	for i, b := range r.bodies {
		b.ino = uint32(len(dirs) + i)
	}
	r.dirs = place(dirs, root.mtime, root.mtimeNsec)
	r.blocks = pack(r.bodies, r.dirs.blockStart+r.dirs.blocks)
}

// finishDir adds "." and ".." to a directory and counts its links.
func (f *file) finishDir(parent *file) {
	f.entries = append(f.entries, entry{name: ".", file: f, link: true}, entry{name: "..", file: parent, link: true})
	sortEntries(f.entries)
	f.countLinks()
}

// write writes the file system and returns the digest of /root.cfs.
func (r *rootLayout) write(ctx context.Context, w io.Writer, s *store.Store, uuid [16]byte) (digest [32]byte, err error) {
	o := newOutput(w)
	o.zeros(erofs.SuperblockOffset)
	super := erofs.Superblock{
		FeatureCompat: erofs.CompatMtime,
		RootNID:       uint16(r.dirs.files[0].nid),
		Inodes:        uint64(len(r.dirs.files) + len(r.bodies)),
		BuildTime:     r.dirs.buildTime,
		BuildTimeNsec: r.dirs.buildNsec,
		Blocks:        uint32(r.blocks),
		UUID:          uuid,
	}.Bytes()
	o.Write(super[:])
	r.dirs.writeInodes(o)
	r.dirs.writeShared(o)
	r.dirs.writeBlocks(o)
	bw := bodyWriter{output: o, store: s, copyBuf: make([]byte, 256<<10)}
	for _, b := range r.bodies {
		bw.begin(b)
		if b.object == nil {
			digest, err = r.img.write(o)
		} else {
			err = bw.copyObject(ctx, b)
		}
		if err != nil {
			return digest, err
		}
	}
	bw.closeBlock()
	return digest, o.flush()
}
