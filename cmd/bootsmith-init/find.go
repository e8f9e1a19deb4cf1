//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/block"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/iso9660"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/rootimg"
)

// rootFile is the image's name in the initramfs and in ISO 9660 file systems.
const rootFile = "root.img"

// Buses are slow to tell what is attached: a USB stick takes a second or two, an
// optical drive up to half a minute.
const (
	searchTime = 30 * time.Second
	searchStep = 100 * time.Millisecond
	noticeTime = 3 * time.Second
)

// found is the place of the root image: a block device, or an open file.
type found struct {
	device string   // path, if it is a device
	file   *os.File // else
	name   string   // for messages
}

// findImage looks for the root image until the time is over.
func (b *boot) findImage() (found, error) {
	if err := makeWork(); err != nil {
		return found{}, err
	}
	s := &search{boot: b, wanted: rootimg.Wanted{RootHash: b.settings.RootHash, Blocks: b.settings.RootBlocks}}
	if img, err := s.initramfs(); err != nil || img != nil {
		return value(img), err
	}
	noticed := false
	for began := b.now(); ; b.sleep(searchStep) {
		if img, err := s.devices(); err != nil || img != nil {
			return value(img), err
		}
		switch waited := b.now().Sub(began); {
		case waited > searchTime:
			return found{}, s.failure()
		case waited > noticeTime && !noticed:
			noticed = true
			b.Printf("waiting for the root image, for up to %v; so far: %s", searchTime, s.report())
		}
	}
}

func value(img *found) found {
	if img == nil {
		return found{}
	}
	return *img
}

// initramfs looks at the file that a boot loader added to the initramfs. The
// kernel unpacks it into memory, half of which may hold files: if it doesn't
// fit, the file has the right size, but holes.
func (s *search) initramfs() (*found, error) {
	f, err := os.Open("/" + rootFile)
	if err != nil {
		s.note("the initramfs", "no /"+rootFile)
		return nil, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("looking at /%s: %w", rootFile, err)
	}
	if unpacked := st.Blocks * statBlock; unpacked < st.Size {
		return nil, tooLittleMemory(st.Size, unpacked)
	}
	return s.file(f, "the initramfs", st.Size)
}

// statBlock is the unit, in bytes, of a stat's count of blocks.
const statBlock = 512

// smallest is the memory that a machine needs besides its root, in bytes.
const smallest = 192 * mib

func tooLittleMemory(size, unpacked int64) error {
	return remedy.Errorf(fmt.Sprintf("give the machine at least %d MiB of memory", (2*size+smallest)/mib),
		"the memory is too small for the root image in the initramfs: of %d MiB, only %d were unpacked", (size+mib-1)/mib, unpacked/mib)
}

// file returns f if it is the root image, and closes it otherwise.
func (s *search) file(f *os.File, place string, size int64) (*found, error) {
	kind, err := s.wanted.Look(f, size)
	if err == nil && kind == rootimg.Ours {
		return &found{file: f, name: "/" + rootFile + " of " + place}, nil
	}
	f.Close()
	s.note(place, describe("/"+rootFile, kind, err))
	return nil, nil
}

func describe(what string, kind rootimg.Kind, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case kind == rootimg.Other:
		return "a root image of another build, or a damaged one"
	}
	return what + " is not this root image"
}

// devices looks at every block device once more. Its errors are reasons to stop.
func (s *search) devices() (*found, error) {
	devices, err := block.List(os.DirFS("/sys"))
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		img, err := s.device(d)
		if err != nil || img != nil {
			return img, err
		}
	}
	return nil, nil
}

func (s *search) device(d block.Device) (*found, error) {
	path := "/dev/" + d.Name
	f, err := os.Open(path)
	if err != nil {
		s.note(d.Name, reason(err))
		return nil, nil
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || s.isKnown(d.Name, size) {
		return nil, nil
	}
	kind, err := s.wanted.Look(f, size)
	if err == nil && kind == rootimg.Ours {
		return &found{device: path, name: d.Name}, nil
	}
	s.note(fmt.Sprintf("%s (%d MiB)", d.Name, size/mib), describe("it", kind, err))
	var descriptor [iso9660.Size]byte
	if size >= iso9660.Offset+iso9660.Size && err == nil {
		_, err = f.ReadAt(descriptor[:], iso9660.Offset)
	}
	if err != nil {
		return nil, nil // once more: an optical drive may still be starting up
	}
	s.know(d.Name, size)
	if volume, ok := iso9660.Parse(descriptor[:]); ok {
		return s.iso(path, fmt.Sprintf("the ISO 9660 volume %q on %s", volume.ID, d.Name))
	}
	return nil, nil
}

// iso looks into an ISO 9660 file system, which stays mounted if it holds the
// root image.
func (s *search) iso(path, place string) (*found, error) {
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := (mount{path, mediumDir, "iso9660", flags, ""}).do(); err != nil {
		s.note(place, err.Error())
		return nil, nil
	}
	img, err := s.inMedium(place)
	if img == nil {
		unix.Unmount(mediumDir, unix.MNT_DETACH)
	}
	return img, err
}

func (s *search) inMedium(place string) (*found, error) {
	f, err := os.Open(mediumDir + "/" + rootFile)
	if err != nil {
		s.note(place, "no /"+rootFile)
		return nil, nil
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		s.note(place, reason(err))
		return nil, nil
	}
	return s.file(f, place, size)
}
