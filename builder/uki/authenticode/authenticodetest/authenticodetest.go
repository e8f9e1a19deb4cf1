// Package authenticodetest helps tests that sign EFI programs: it makes small
// programs and lets sbverify judge signatures.
package authenticodetest

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Sizes in bytes of Program's headers.
const (
	HeaderSize   = 0x400
	SectionSize  = 512
	optionalSize = 240
)

// Program returns a program for amd64 in the format PE32+ with these sections,
// one page each in memory and SectionSize bytes in the file.
func Program(sections ...string) []byte {
	b := make([]byte, HeaderSize+SectionSize*len(sections))
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[60:], 64)
	p := b[64:]
	copy(p, "PE\x00\x00")
	le.PutUint16(p[4:], 0x8664)
	le.PutUint16(p[6:], uint16(len(sections)))
	le.PutUint16(p[20:], optionalSize)
	le.PutUint16(p[22:], 0x206) // executable, no line numbers, no debug data
	o := p[24:]
	le.PutUint16(o, 0x20b)
	le.PutUint32(o[16:], 4096) // entry point
	le.PutUint32(o[32:], 4096)
	le.PutUint32(o[36:], SectionSize)
	le.PutUint32(o[56:], uint32(4096*(1+len(sections))))
	le.PutUint32(o[60:], HeaderSize)
	le.PutUint32(o[64:], 0xc0ffee) // checksum, no part of the digest
	le.PutUint16(o[68:], 10)       // EFI application
	le.PutUint32(o[108:], 16)
	for i, name := range sections {
		s := o[optionalSize+40*i:]
		copy(s[:8], name)
		le.PutUint32(s[8:], 100)
		le.PutUint32(s[12:], uint32(4096*(1+i)))
		le.PutUint32(s[16:], SectionSize)
		le.PutUint32(s[20:], uint32(HeaderSize+SectionSize*i))
		le.PutUint32(s[36:], 0x40000040)
		copy(b[HeaderSize+SectionSize*i:], "contents of "+name)
	}
	return b
}

// Verify lets sbverify check a program's signature by the certificate in a PEM
// file.
func Verify(t testing.TB, program []byte, certificate string) {
	t.Helper()
	if out, err := TryVerify(t, program, certificate); err != nil {
		t.Errorf("sbverify: %v\n%s", err, out)
	}
}

// TryVerify is Verify for signatures that may be bad; it returns what sbverify
// said.
func TryVerify(t testing.TB, program []byte, certificate string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program.efi")
	if err := os.WriteFile(path, program, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("sbverify"); err != nil {
		t.Fatalf("%v; install the Debian package sbsigntool", err)
	}
	out, err := exec.Command("sbverify", "--cert", certificate, path).CombinedOutput()
	return string(out), err
}
