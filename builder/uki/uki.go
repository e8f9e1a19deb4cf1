// Package uki writes and reads unified kernel images: one EFI program that is
// a boot stub with the kernel, the initramfs and the kernel command line in
// sections of its own (UAPI Group Specification "Unified Kernel Image").
//
// The result has the layout that systemd's ukify gives it. The stub is
// systemd's, from the package systemd-boot-efi; its .sbat section stays as it
// is.
package uki

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
)

// The sections that Write adds, in their order.
const (
	SectionOSRelease = ".osrel"
	SectionCmdline   = ".cmdline"
	SectionUname     = ".uname"
	SectionLinux     = ".linux"
	SectionInitrd    = ".initrd"
)

// Section characteristics.
const (
	sectionCode = 0x40000020 // IMAGE_SCN_MEM_READ | IMAGE_SCN_CNT_CODE
	sectionData = 0x40000040 // IMAGE_SCN_MEM_READ | IMAGE_SCN_CNT_INITIALIZED_DATA
)

// kernelHead is how much of the kernel is looked at before it is copied, in
// bytes; its headers end within the first page.
const kernelHead = 4096

// Blob is a stream of a known size in bytes.
type Blob struct {
	R    io.Reader
	Size int64
}

// Input is what goes into an image.
type Input struct {
	// Stub is systemd's EFI stub, some 100 KB.
	Stub []byte
	// OSRelease is the text of os-release, Cmdline the kernel command line,
	// Uname the kernel's release. An empty one gets no section.
	OSRelease, Cmdline, Uname string
	// Kernel is an EFI program for the stub's architecture; Initramfs may be
	// empty.
	Kernel, Initramfs Blob
}

// part is a section to be added.
type part struct {
	name  string
	blob  Blob
	flags uint32

	offset, address int64
}

// Write writes the image. A stub or kernel that can't be used is an error of
// class fault.Input.
func Write(ctx context.Context, w io.Writer, in Input) error {
	if err := write(ctx, w, in); err != nil {
		return fmt.Errorf("writing the unified kernel image: %w", err)
	}
	return nil
}

func write(ctx context.Context, w io.Writer, in Input) error {
	stub := bytes.Clone(in.Stub)
	h, err := parseStub(stub)
	if err != nil {
		return fault.Inputf("reading the boot stub: %w", err)
	}
	kernel := bufio.NewReaderSize(in.Kernel.R, kernelHead)
	if err := adaptToKernel(stub, h, kernel, in.Kernel.Size); err != nil {
		return fault.Inputf("reading the kernel: %w", err).
			WithFix("use a kernel with an EFI stub (CONFIG_EFI_STUB), built for the same architecture and not packed by gzip")
	}
	in.Kernel.R = kernel
	parts := in.parts()
	end, err := place(h, int64(len(stub)), parts)
	if err != nil {
		return err
	}
	if err := patch(stub, h, parts, end); err != nil {
		return err
	}
	return copyOut(ctx, w, h, stub, parts)
}

func (in Input) parts() []part {
	all := []part{
		{name: SectionOSRelease, blob: textBlob(in.OSRelease), flags: sectionData},
		{name: SectionCmdline, blob: textBlob(in.Cmdline), flags: sectionData},
		{name: SectionUname, blob: textBlob(in.Uname), flags: sectionData},
		{name: SectionLinux, blob: in.Kernel, flags: sectionCode},
		{name: SectionInitrd, blob: in.Initramfs, flags: sectionData},
	}
	var used []part
	for _, p := range all {
		if p.blob.Size > 0 {
			used = append(used, p)
		}
	}
	return used
}

func textBlob(s string) Blob { return Blob{R: strings.NewReader(s), Size: int64(len(s))} }

// parseStub reads the stub's headers and refuses one that can't be extended.
func parseStub(stub []byte) (headers, error) {
	h, err := parseHeaders(stub[:min(len(stub), maxHeaders)], int64(len(stub)))
	if err != nil {
		return headers{}, err
	}
	if len(h.sections) == 0 {
		return headers{}, fmt.Errorf("it has no sections")
	}
	for _, a := range []int64{h.fileAlign, h.sectionAlign} {
		if a < 512 || a > 64<<10 || a&(a-1) != 0 {
			return headers{}, fmt.Errorf("alignment %d is not a power of two from 512 to 65536", a)
		}
	}
	if h.size > int64(len(stub)) {
		return headers{}, fmt.Errorf("it is cut off within its headers")
	}
	for _, name := range []string{SectionOSRelease, SectionCmdline, SectionUname, SectionLinux, SectionInitrd} {
		if _, ok := h.find(name); ok {
			return headers{}, fmt.Errorf("it has a section %q already", name)
		}
	}
	p := stub[h.pe:]
	if binary.LittleEndian.Uint32(p[offDirectories:]) > 4 && h.table >= h.pe+offSecurity+8 &&
		binary.LittleEndian.Uint64(p[offSecurity:]) != 0 {
		return headers{}, fmt.Errorf("it is signed, and more sections would break the signature")
	}
	return h, nil
}

// adaptToKernel checks the kernel's headers, and takes the flag NX_COMPAT from
// the stub when the kernel doesn't have it: firmware that enforces the flag would
// start the stub and then crash the kernel.
func adaptToKernel(stub []byte, h headers, kernel *bufio.Reader, size int64) error {
	head, err := kernel.Peek(int(min(size, kernelHead)))
	if err != nil {
		return err
	}
	k, err := parseHeaders(head, math.MaxInt64)
	if err != nil {
		return err
	}
	if k.machine != h.machine {
		return fmt.Errorf("its machine type is %#x, the boot stub's is %#x", k.machine, h.machine)
	}
	le := binary.LittleEndian
	if le.Uint16(head[k.pe+offDLLFlags:])&dllNXCompat == 0 {
		flags := stub[h.pe+offDLLFlags:]
		le.PutUint16(flags, le.Uint16(flags)&^dllNXCompat)
	}
	return nil
}
