package authenticode

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/uki/authenticode/authenticodetest"
)

// newIdentity returns a signer with a certificate of its own and the
// certificate's file.
func newIdentity(t testing.TB, bits int) (Identity, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "certificate.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return Identity{Certificates: []*x509.Certificate{c}, Key: key}, path
}

func signed(t testing.TB, program []byte, by Identity) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Sign(context.Background(), &out, bytes.NewReader(program), int64(len(program)), by); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestSign lets sbverify check signatures, also over a program whose length
// doesn't align the certificate table, and over one with a byte changed.
func TestSign(t *testing.T) {
	by, certificate := newIdentity(t, 2048)
	_, other := newIdentity(t, 2048)
	program := authenticodetest.Program(".text", ".empty", ".data")
	for _, tail := range []int{0, 3, 8} {
		in := append(bytes.Clone(program), bytes.Repeat([]byte{'t'}, tail)...)
		out := signed(t, in, by)
		authenticodetest.Verify(t, out, certificate)
		if !bytes.Equal(out, signed(t, in, by)) {
			t.Error("two signatures of one program differ")
		}
		checkTable(t, out, len(in))
	}
	out := signed(t, program, by)
	if said, err := authenticodetest.TryVerify(t, out, other); err == nil {
		t.Errorf("another certificate verifies: %s", said)
	}
	for _, at := range []int{0x50, authenticodetest.HeaderSize + 3, len(program) - 1} {
		bad := bytes.Clone(out)
		bad[at] ^= 1
		if said, err := authenticodetest.TryVerify(t, bad, certificate); err == nil {
			t.Errorf("changed at %#x, it verifies: %s", at, said)
		}
	}
}

// checkTable compares the signed program's directory entry with its length and
// the other bytes with those that were signed.
func checkTable(t *testing.T, out []byte, size int) {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	d := f.OptionalHeader.(*pe.OptionalHeader64).DataDirectory[4]
	if int64(d.VirtualAddress) != alignUp(int64(size)) || int(d.VirtualAddress+d.Size) != len(out) || d.Size%8 != 0 {
		t.Errorf("certificate table at %d, %d bytes, in a file of %d", d.VirtualAddress, d.Size, len(out))
	}
}

func TestSignRefuses(t *testing.T) {
	by, _ := newIdentity(t, 2048)
	weak, _ := newIdentity(t, 1024)
	other, _ := newIdentity(t, 2048)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	program := authenticodetest.Program(".text", ".data")
	put := func(at int, v uint32) []byte {
		b := bytes.Clone(program)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	const optional = 64 + 24
	gap := put(optional+240+20, authenticodetest.HeaderSize+8)
	for name, x := range map[string]struct {
		program []byte
		by      Identity
		want    string
	}{
		"not a program": {[]byte("#!/bin/sh"), by, "reading its headers"},
		"signed twice":  {signed(t, program, by), by, "it is signed already"},
		"no directory":  {put(optional+108, 4), by, "reading its headers"},
		"gap":           {gap, by, `section ".text" begins at byte 1032 of the file and not at 1024`},
		"cut off":       {program[:len(program)-1], by, "behind its end"},
		"weak key":      {program, weak, "has 1024 bits"},
		"no identity":   {program, Identity{}, "no certificate"},
		"wrong key":     {program, Identity{by.Certificates, other.Key}, "not the certificate's"},
		"curve":         {program, Identity{[]*x509.Certificate{{PublicKey: curve.Public()}}, curve}, "not an RSA key"},
	} {
		err := Sign(t.Context(), io.Discard, bytes.NewReader(x.program), int64(len(x.program)), x.by)
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Sign(ctx, io.Discard, bytes.NewReader(program), int64(len(program)), by); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func FuzzSign(f *testing.F) {
	by, _ := newIdentity(f, 2048)
	f.Add(authenticodetest.Program(".text"))
	f.Add(authenticodetest.Program()[:200])
	f.Fuzz(func(t *testing.T, program []byte) {
		var out bytes.Buffer
		if err := Sign(t.Context(), &out, bytes.NewReader(program), int64(len(program)), by); err != nil {
			return
		}
		if _, err := parse(bytes.NewReader(out.Bytes()), int64(out.Len())); err == nil || !strings.Contains(err.Error(), "signed already") {
			t.Errorf("the signed program is not seen as signed: %v", err)
		}
	})
}
