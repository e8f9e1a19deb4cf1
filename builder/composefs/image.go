package composefs

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/powernode/bootsmith/builder/composefs/erofs"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

// The composefs header at the image's first byte (struct lcfs_erofs_header_s):
// magic, header version, flags, composefs version, 4 zero words.
const (
	headerMagic   = 0xd078629a
	headerVersion = 1
	headerSize    = 32
	flagACL       = 1 // a file has a POSIX ACL
)

// image is a composefs image that is laid out and ready to be written.
type image struct {
	*layout
	version uint32
}

// WriteImage writes the composefs image of a tree and returns its fs-verity
// digest, which identifies the tree: the value of "composefs=" on the kernel
// command line. Contents of more than tree.InlineMax bytes are only named.
//
// It fails for what an image can't hold: files of more than 8 TiB, symlink
// targets of more than 4095 bytes, xattrs of more than 32 KiB per file, device
// numbers beyond 4095:1048575.
func WriteImage(w io.Writer, t *tree.Tree) (digest [32]byte, err error) {
	img, err := newImage(t, plain())
	if err != nil {
		return digest, err
	}
	return img.write(w)
}

// newImage lays out the image of a tree.
func newImage(t *tree.Tree, v variant) (*image, error) {
	root, version, err := fromTree(t, v)
	if err != nil {
		return nil, err
	}
	files := number(root)
	for _, f := range files {
		f.sortXattrs()
	}
	sec, nsec := oldest(files)
	return &image{layout: place(files, sec, nsec), version: version}, nil
}

// write writes the image and returns its fs-verity digest.
func (img *image) write(w io.Writer) (digest [32]byte, err error) {
	verity := fsverity.New()
	err = img.writeBytes(io.MultiWriter(w, verity))
	return verity.Sum(), err
}

func (img *image) writeBytes(w io.Writer) error {
	o := newOutput(w)
	o.Write(img.header())
	o.zeros(erofs.SuperblockOffset - headerSize)
	super := img.superblock().Bytes()
	o.Write(super[:])
	img.writeInodes(o)
	img.writeShared(o)
	img.writeBlocks(o)
	if err := o.flush(); err != nil {
		return fmt.Errorf("writing the composefs image: %w", err)
	}
	return nil
}

func (img *image) header() []byte {
	flags := uint32(0)
	for _, f := range img.files {
		for _, x := range f.xattrs {
			if x.name == "system.posix_acl_access" || x.name == "system.posix_acl_default" {
				flags = flagACL
			}
		}
	}
	b := make([]byte, 0, headerSize)
	for _, word := range []uint32{headerMagic, headerVersion, flags, img.version} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b[:headerSize]
}

func (img *image) superblock() erofs.Superblock {
	return erofs.Superblock{
		FeatureCompat: erofs.CompatMtime | erofs.CompatXattrFilter,
		RootNID:       uint16(img.files[0].nid),
		Inodes:        uint64(len(img.files)),
		BuildTime:     img.buildTime,
		BuildTimeNsec: img.buildNsec,
		Blocks:        uint32(img.size() / erofs.BlockSize),
		XattrBlock:    uint32(img.inodesEnd / erofs.BlockSize),
	}
}
