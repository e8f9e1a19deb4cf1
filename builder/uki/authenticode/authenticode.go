// Package authenticode signs EFI programs so that UEFI Secure Boot starts them:
// Microsoft's "Windows Authenticode Portable Executable Signature Format" 1.0,
// as the UEFI specification 2.10 takes it in section 32.2.4.
//
// A signed program is the program with one entry of its headers changed and a
// certificate table behind its last byte: a header of 8 bytes (length, revision
// 2.0, type PKCS#7), then PKCS#7 SignedData over the program's SHA-256. There
// is no signing time in it, and RSA signatures by PKCS#1 v1.5 don't vary: the
// same program and key give the same bytes.
package authenticode

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Identity is who signs.
type Identity struct {
	// Certificates begin with the signer's own; further ones lead to the one
	// that the firmware knows.
	Certificates []*x509.Certificate
	// Key belongs to the first certificate. It signs SHA-256 digests by RSA
	// PKCS#1 v1.5, which is what firmware takes.
	Key crypto.Signer
}

// The header of an entry of the certificate table, WIN_CERTIFICATE.
const (
	tableHeader  = 8
	revision2    = 0x0200
	typePKCS7    = 0x0002 // WIN_CERT_TYPE_PKCS_SIGNED_DATA
	tableAlign   = 8
	dirEntrySize = 8
)

// Sign writes the EFI program of size bytes (PE32+, not signed yet) to w with a
// signature. It reads the program twice. An unsuitable program is an error.
func Sign(ctx context.Context, w io.Writer, program io.ReaderAt, size int64, by Identity) error {
	if err := sign(ctx, w, program, size, by); err != nil {
		return fmt.Errorf("signing an EFI program: %w", err)
	}
	return nil
}

func sign(ctx context.Context, w io.Writer, program io.ReaderAt, size int64, by Identity) error {
	l, err := parse(program, size)
	if err != nil {
		return err
	}
	in := &contextReaderAt{ctx, program}
	digest, err := l.digest(in)
	if err != nil {
		return err
	}
	signature, err := signedData(digest, by)
	if err != nil {
		return err
	}
	table := certificateTable(signature)
	if l.padded()+int64(len(table)) > math.MaxUint32 {
		return errors.New("it is too large for a signature")
	}
	return l.copySigned(w, in, table)
}

// certificateTable returns the one entry, padded.
func certificateTable(signature []byte) []byte {
	size := tableHeader + len(signature)
	table := make([]byte, alignUp(int64(size)))
	binary.LittleEndian.PutUint32(table, uint32(size))
	binary.LittleEndian.PutUint16(table[4:], revision2)
	binary.LittleEndian.PutUint16(table[6:], typePKCS7)
	copy(table[tableHeader:], signature)
	return table
}

// copySigned writes the program, the entry of its headers that says where the
// table is, and the table.
func (l layout) copySigned(w io.Writer, in io.ReaderAt, table []byte) error {
	entry := make([]byte, dirEntrySize)
	binary.LittleEndian.PutUint32(entry, uint32(l.padded()))
	binary.LittleEndian.PutUint32(entry[4:], uint32(len(table)))
	if err := copyRange(w, in, 0, l.entry); err != nil {
		return err
	}
	if _, err := w.Write(entry); err != nil {
		return err
	}
	if err := copyRange(w, in, l.entry+dirEntrySize, l.size); err != nil {
		return err
	}
	_, err := w.Write(append(make([]byte, l.padded()-l.size), table...))
	return err
}

// copyRange copies the bytes from up to but not including to.
func copyRange(w io.Writer, in io.ReaderAt, from, to int64) error {
	n, err := io.Copy(w, io.NewSectionReader(in, from, to-from))
	if err == nil && n < to-from {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func alignUp(n int64) int64 { return (n + tableAlign - 1) &^ (tableAlign - 1) }

// contextReaderAt stops reading when its context is done.
type contextReaderAt struct {
	ctx context.Context
	r   io.ReaderAt
}

func (c *contextReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.ReadAt(p, off)
}
