package apt

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/source/apt/apttest"
)

// Whatever an index says, what comes out of it can be downloaded safely.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(apttest.Deb{Name: "app", Fields: []string{"Depends: lib (>= 1.0) | x", "Filename: pool/a.deb", "Size: 5", "SHA256: " + strings.Repeat("0", 64)}}.Control()))
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: all\nFilename: ../x\nSize: -1\n\nPackage: a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ix := &index{byName: map[string]*entry{}}
		if err := ix.read(bytes.NewReader(data)); err != nil {
			return
		}
		for name := range ix.byName {
			for _, e := range ix.versions(name) {
				p, err := e.pkg()
				if err == nil && (strings.Contains(p.PoolPath, "..") && !filepath.IsLocal(p.PoolPath) || p.Size < 0 || len(p.SHA256) != 64) {
					t.Errorf("%+v", p)
				}
			}
		}
	})
}

// Nothing but the text that the keyring's key has signed is taken for signed.
func FuzzVerifySignature(f *testing.F) {
	repo := simpleRepo()
	signed := repo.File("dists/test/InRelease")
	keyring := filepath.Join(f.TempDir(), a0keyring)
	if err := os.WriteFile(keyring, apttest.Keyring(repo.Key, false), 0o644); err != nil {
		f.Fatal(err)
	}
	a := &Archive{Suite: "test", Keyring: keyring, Now: func() time.Time { return apttest.Epoch() }}
	want, err := a.verifySignature(signed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add(signed[:len(signed)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := a.verifySignature(data)
		// Clear-signed text is signed without the white space at the ends of
		// lines (RFC 9580, section 7.1).
		if err == nil && !bytes.Equal(trimLines(got), trimLines(want)) {
			t.Errorf("another text counts as signed:\n%q", got)
		}
	})
}

func trimLines(text []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		b.Write(bytes.TrimRight(line, " \t\r\n"))
		b.WriteByte('\n')
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
