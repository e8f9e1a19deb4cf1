//go:build boot

package vm_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
	"unicode/utf16"

	"github.com/powernode/bootsmith/arch"
)

// Layout of the firmware's variables in flash (EDK II, MdePkg
// Include/Pi/PiFirmwareVolume.h and MdeModulePkg Include/Guid/VariableFormat.h),
// in bytes. Both firmware builds use the same sizes.
const (
	volumeHeader = 0x48
	storeHeader  = 0x1c
	storeSize    = 0x40000 - volumeHeader
	eraseBlock   = 0x40000
	volumeSize   = 3 * eraseBlock // variables, working block, spare block
)

// writeBootURI writes variables with one boot entry, that of a URI. The
// firmware's own file is the template; one that is blank gets its headers.
func writeBootURI(t *testing.T, a arch.Arch, path, uri string) {
	t.Helper()
	flash, err := os.ReadFile(a.QEMU.Vars)
	if err != nil {
		t.Fatal(err)
	}
	if len(flash) < volumeSize {
		flash = append(flash, make([]byte, volumeSize-len(flash))...)[:len(flash)]
	}
	if binary.LittleEndian.Uint16(flash[0x30:]) == 0 {
		copy(flash, blankVolume())
	}
	if got := binary.LittleEndian.Uint16(flash[0x30:]); got != volumeHeader {
		t.Fatalf("%s: its header is %d bytes long, want %d", a.QEMU.Vars, got, volumeHeader)
	}
	free := flash[volumeHeader+storeHeader:]
	if !bytes.Equal(free[:2], []byte{0xff, 0xff}) {
		t.Fatalf("%s has variables already", a.QEMU.Vars)
	}
	copy(free, append(uefiVariable("Boot0000", bootOption(uri)), uefiVariable("BootOrder", []byte{0, 0})...))
	if err := os.WriteFile(path, flash, 0o644); err != nil {
		t.Fatal(err)
	}
}

// blankVolume returns a firmware volume without variables.
func blankVolume() []byte {
	le := binary.LittleEndian
	v := bytes.Repeat([]byte{0xff}, volumeSize)
	h := append(make([]byte, 16), // reset vector, then gEfiSystemNvDataFvGuid
		0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50)
	h = le.AppendUint64(h, volumeSize)
	h = append(h, "_FVH"...)
	h = le.AppendUint32(h, 0x0004feff)               // attributes
	h = append(h, volumeHeader, 0, 0, 0, 0, 0, 0, 2) // length, checksum, no extension, revision
	h = le.AppendUint32(h, volumeSize/eraseBlock)    // block map
	h = le.AppendUint32(h, eraseBlock)
	h = append(h, make([]byte, 8)...)
	var sum uint16
	for i := 0; i < len(h); i += 2 {
		sum += le.Uint16(h[i:])
	}
	le.PutUint16(h[0x32:], -sum)
	h = append(h, // gEfiAuthenticatedVariableGuid
		0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92)
	h = le.AppendUint32(h, storeSize)
	copy(v, append(h, 0x5a, 0xfe, 0, 0, 0, 0, 0, 0)) // formatted, healthy
	return v
}

// uefiVariable returns a variable of EFI_GLOBAL_VARIABLE: AUTHENTICATED_VARIABLE_HEADER,
// name and data, aligned to 4 bytes.
func uefiVariable(name string, data []byte) []byte {
	le := binary.LittleEndian
	wide := utf16String(name)
	v := le.AppendUint16(nil, 0x55aa)
	v = append(v, 0x3f, 0)                 // VAR_ADDED
	v = le.AppendUint32(v, 7)              // non-volatile, at boot and at run time
	v = append(v, make([]byte, 8+16+4)...) // count, time, key
	v = le.AppendUint32(v, uint32(len(wide)))
	v = le.AppendUint32(v, uint32(len(data)))
	v = append(v, 0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c)
	v = append(append(v, wide...), data...)
	for len(v)%4 != 0 {
		v = append(v, 0xff)
	}
	return v
}

// bootOption returns an EFI_LOAD_OPTION (UEFI 2.10, section 3.1.3) whose device
// path is nothing but a URI: the firmware tries it on every network card.
func bootOption(uri string) []byte {
	le := binary.LittleEndian
	path := le.AppendUint16([]byte{3, 24}, uint16(4+len(uri))) // messaging, URI
	path = append(append(path, uri...), 0x7f, 0xff, 4, 0)      // end of the path
	option := le.AppendUint32(nil, 1)                          // active
	option = le.AppendUint16(option, uint16(len(path)))
	return append(append(option, utf16String("HTTP")...), path...)
}

func utf16String(s string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
