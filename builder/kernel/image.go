package kernel

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

const (
	// maxImage bounds a decompressed kernel image, in bytes; distributions'
	// have 10 to 60 MB.
	maxImage = 512 << 20
	// headSize is what is read of an image to tell what it is, in bytes: the
	// x86 header's pointer to the release is 16 bits wide and counts from 0x200.
	headSize = 128 << 10
	// maxRelease bounds the text at that pointer, in bytes.
	maxRelease = 1024
)

// OpenImage opens the kernel's image for an architecture: an EFI program, as
// unified kernel images, firmware and boot loaders start it. On x86 that is a
// bzImage, on arm64 an Image or an EFI zboot image; an Image in gzip is given
// decompressed. Anything else, another CPU's image, and one whose header names
// another release than Version, is an error of class fault.Input.
func (k Kernel) OpenImage(contents Opener, a arch.Arch) (io.ReadCloser, error) {
	f, err := contents.Open(k.Image)
	if err != nil {
		return nil, err
	}
	r, release, err := ReadImage(f, a)
	if err == nil && release != "" && release != k.Version {
		err = fmt.Errorf("its header says release %q, its place says %q", release, k.Version)
	}
	if err != nil {
		f.Close()
		return nil, fault.Default(fault.Input, fmt.Errorf("reading the kernel image %q: %w", k.Path, err))
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// ReadImage returns a reader of the whole image in r, decompressed if it is an
// arm64 Image in gzip, and the kernel's release if the header tells it: that of
// x86 does (Documentation/arch/x86/boot.rst, kernel_version).
func ReadImage(r io.Reader, a arch.Arch) (image io.Reader, release string, err error) {
	in := bufio.NewReaderSize(r, headSize)
	head, err := peek(in)
	if err != nil {
		return nil, "", err
	}
	if bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, "", fmt.Errorf("decompressing: %w", err)
		}
		in = bufio.NewReaderSize(&bounded{z, maxImage}, headSize)
		if head, err = peek(in); err != nil {
			return nil, "", fmt.Errorf("decompressing: %w", err)
		}
	}
	if err := checkImage(head, a); err != nil {
		return nil, "", err
	}
	return in, releaseOf(head), nil
}

// peek returns the first bytes, as many as there are up to headSize.
func peek(in *bufio.Reader) ([]byte, error) {
	head, err := in.Peek(headSize)
	if err == io.EOF {
		err = nil
	}
	return head, err
}

// checkImage looks for the header of an EFI program of the architecture.
func checkImage(head []byte, a arch.Arch) error {
	machine, ok := peMachine(head)
	switch {
	case ok && machine == a.PEMachine:
		return nil
	case ok:
		return fault.Inputf("it is for %s, not for %s", machineName(machine), a.Name).WithFix("name a kernel for %s", a.Name)
	case isX86(head) || isARM64(head):
		return fault.Inputf("it is no EFI program").WithFix("build the kernel with CONFIG_EFI_STUB")
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return fault.Inputf("it is an ELF file, not what boots").
			WithFix("name the image that the kernel's build makes of it: arch/x86/boot/bzImage, arch/arm64/boot/Image")
	case bytes.HasPrefix(head, uImageMagic):
		return fault.Inputf("it is a U-Boot image").WithFix("name the Image that it was made of")
	}
	return fault.Inputf("it is no kernel image").WithFix("name a bzImage, an arm64 Image or an EFI zboot image")
}

// uImageMagic begins a legacy U-Boot image (include/image.h, IH_MAGIC).
var uImageMagic = []byte{0x27, 0x05, 0x19, 0x56}

// peMachine returns the Machine field of a PE/COFF header: the offset of "PE\0\0"
// is at 0x3c, and the field follows it.
func peMachine(head []byte) (uint16, bool) {
	if len(head) < 0x40 || head[0] != 'M' || head[1] != 'Z' {
		return 0, false
	}
	at := int64(binary.LittleEndian.Uint32(head[0x3c:]))
	if at+6 > int64(len(head)) || !bytes.Equal(head[at:at+4], []byte("PE\x00\x00")) {
		return 0, false
	}
	return binary.LittleEndian.Uint16(head[at+4:]), true
}

func machineName(machine uint16) string {
	for _, a := range arch.All() {
		if a.PEMachine == machine {
			return a.Name
		}
	}
	return fmt.Sprintf("another CPU (PE machine %#04x)", machine)
}

// isX86 looks for the setup header's magic (boot.rst, offset 0x202).
func isX86(head []byte) bool {
	return len(head) >= 0x210 && bytes.Equal(head[0x202:0x206], []byte("HdrS"))
}

// isARM64 looks for the Image header's magic
// (Documentation/arch/arm64/booting.rst, offset 56).
func isARM64(head []byte) bool {
	return len(head) >= 60 && bytes.Equal(head[56:60], []byte("ARM\x64"))
}

// releaseOf returns the first word of the text at kernel_version (boot.rst,
// offset 0x20e, counted from 0x200), "" when the header has none.
func releaseOf(head []byte) string {
	if !isX86(head) {
		return ""
	}
	at := int(binary.LittleEndian.Uint16(head[0x20e:]))
	if at == 0 || at+0x200 >= len(head) {
		return ""
	}
	text := head[at+0x200:]
	text = text[:min(len(text), maxRelease)]
	text, _, ended := bytes.Cut(text, []byte{0})
	if !ended {
		return ""
	}
	release, _, _ := strings.Cut(string(text), " ")
	return release
}

// bounded is an io.LimitedReader that reports what is beyond as an error.
type bounded struct {
	r    io.Reader
	left int64
}

var errImageSize = errors.New("the image is larger than 512 MiB")

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errImageSize
	}
	return n, err
}
