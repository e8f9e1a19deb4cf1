// Package families makes the artifacts of a build. A family is one kind of
// artifact (a disk image, an ISO, …); all of them are made from the same parts,
// which were built once per architecture, around the same verified root.
//
// Adding a family takes one file with a type that implements Family, and one
// line in All.
package families

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// Family makes one kind of artifact.
type Family interface {
	// Name is the command line's value, the folder's name and the suffix of
	// the registry tag.
	Name() string
	// Build writes the family's files to out. It writes the same bytes for the
	// same input, and stops soon after ctx is done.
	Build(ctx context.Context, in Input, out *Sink) error
}

// Long is a family that takes longer than most, as it compresses: it is begun
// before others that could be.
type Long interface {
	Family
	Long()
}

// Early is a family with much to do that the root image isn't needed for. It is
// built by Begin and what that returns, instead of by Build.
type Early interface {
	Family
	// Begin does what can be done without the root image. What in tells of that is
	// missing: RootDigest and RootHash, RootImage, and the digests in Cmdline;
	// so are ESP and Scratch.
	Begin(ctx context.Context, in Input, out *Sink) (Finish, error)
}

// Finish does what Begin left. in has the same as before, and what was missing of
// the root image.
type Finish func(ctx context.Context, in Input) error

// All returns the families in the order in which they are listed everywhere.
func All() []Family {
	return []Family{kernelInitrd{}, raw{}, iso{}, ipxe{}, qcow2{}, oci{}, rpi4{}}
}

// Names returns the names of all families, in order.
func Names() []string {
	var names []string
	for _, f := range All() {
		names = append(names, f.Name())
	}
	return names
}

// Lookup returns a family by name; the error lists the known names.
func Lookup(name string) (Family, error) {
	all := All()
	i := slices.IndexFunc(all, func(f Family) bool { return f.Name() == name })
	if i < 0 {
		return nil, fmt.Errorf("looking up family %q: known are %s", name, strings.Join(Names(), ", "))
	}
	return all[i], nil
}

// Input is what a family builds from. Everything in it is shared with the
// other families and must not be changed.
type Input struct {
	// Platform is the name in the definition; files are named after it.
	Platform string
	Arch     arch.Arch

	Kernel        Blob // the kernel as the distribution ships it
	KernelVersion string
	Initramfs     Blob // initramfs.cpio.zst
	RootImage     Blob // EROFS with root.cfs and its objects, then its dm-verity tree
	UKI           Blob // kernel, initramfs and command line as one EFI program

	Tree  *tree.Tree   // the root, for families that ship files
	Store *store.Store // the contents of Tree's files

	// Cmdline is the kernel command line with both root digests in it.
	Cmdline string
	// RootDigest is the fs-verity digest of root.cfs, RootHash the dm-verity
	// root hash of RootImage; both in hex.
	RootDigest, RootHash string

	// ESP are further files for the EFI system partition.
	ESP []ESPFile
	// RPi4 is for the Raspberry Pi 4's image.
	RPi4 RPi4
	// DiskSize is the size of disk images in bytes; 0 means as small as the
	// content.
	DiskSize int64
	// Persist is the partition of disk images for what changes on a machine; nil
	// means none.
	Persist *Persist
	// BaseURL is where the ipxe script finds the files of kernel-initrd, with
	// a slash at its end; "" means relative to the script.
	BaseURL string

	// Revision is the definition's commit.
	Revision string
	// Epoch is the one time stamp of the build.
	Epoch time.Time
	// ID returns a GUID or UUID that depends on nothing but the plan and the
	// purpose, in RFC 9562 byte order (version and variant bits set).
	ID func(purpose string) [16]byte
	// Scratch is an empty folder for temporary files; it is deleted after the
	// build.
	Scratch string
}

// fileName returns the name of the family's file with that extension.
func (in Input) fileName(extension string) string {
	return in.Platform + "-" + in.Arch.Name + "." + extension
}

// ESPFile is a file for the EFI system partition.
type ESPFile struct {
	Path string // slash-separated, relative
	Blob Blob
}

// Blob is a finished file on disk.
type Blob struct {
	Path   string
	Size   int64  // bytes
	SHA256 string // hex
}

// Open opens the file.
func (b Blob) Open() (io.ReadCloser, error) { return os.Open(b.Path) }
