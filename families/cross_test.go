package families

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/families/familiestest"
)

// provableInput is a small build whose parts fit together.
func provableInput(t testing.TB, archName string) Input {
	t.Helper()
	in := testInput(t, archName)
	parts := familiestest.New(t, in.Arch, in.Epoch, map[string]string{
		"sbin/init":           "#!program\n" + strings.Repeat("init", 5000),
		"etc/hostname":        "minimal\n",
		"usr/share/text":      strings.Repeat("text", 3000),
		"var/lib/dpkg/status": strings.Repeat("status", 300),
	})
	for path, blob := range map[string]*Blob{parts.Kernel: &in.Kernel, parts.Initramfs: &in.Initramfs, parts.UKI: &in.UKI, parts.RootImage: &in.RootImage} {
		*blob = blobOf(t, path)
	}
	in.Tree, in.Store, in.Cmdline = parts.Tree, parts.Store, parts.Cmdline
	in.RootDigest, in.RootHash = hex.EncodeToString(parts.Root.Digest[:]), hex.EncodeToString(parts.Root.RootHash[:])
	return in
}

func blobOf(t testing.TB, path string) Blob {
	t.Helper()
	sink := NewSink(t.TempDir())
	f, err := sink.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(readFile(t, path)); err != nil {
		t.Fatal(err)
	}
	a, err := f.Commit("part", "")
	if err != nil {
		t.Fatal(err)
	}
	return Blob{Path: path, Size: a.Size, SHA256: a.SHA256}
}

// common returns the families for all architectures.
func common() []Family {
	return slices.DeleteFunc(All(), func(f Family) bool {
		_, limited := f.(interface{ Supports(arch.Arch) bool })
		return limited
	})
}

// buildAll builds them into a folder.
func buildAll(t testing.TB, in Input) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range common() {
		sink := NewSink(filepath.Join(dir, f.Name()))
		if err := f.Build(t.Context(), in, sink); err != nil {
			t.Fatal(err)
		}
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCross(t *testing.T) {
	for _, a := range arch.All() {
		in := provableInput(t, a.Name)
		proofs, err := Cross(t.Context(), buildAll(t, in), a, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(proofs) != len(common()) {
			t.Errorf("%d proofs", len(proofs))
		}
		for i, p := range proofs {
			if p.Family != common()[i].Name() || p.RootDigest != in.RootDigest || p.RootHash != in.RootHash || len(p.Evidence) < 2 {
				t.Errorf("%+v", p)
			}
		}
	}
}

// change replaces the first occurrence of old in a file.
func change(t *testing.T, path string, old, new []byte) {
	t.Helper()
	data := readFile(t, path)
	if !bytes.Contains(data, old) || len(old) != len(new) {
		t.Fatalf("%q is not in %s", old, path)
	}
	if err := os.WriteFile(path, bytes.Replace(data, old, new, 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCrossRefuses changes one thing in one family; each must be found.
func TestCrossRefuses(t *testing.T) {
	in := provableInput(t, "amd64")
	a := in.Arch
	dir := buildAll(t, in)
	content := []byte(strings.Repeat("text", 100))
	other := append([]byte("TEXT"), content[4:]...)
	other2 := []byte(strings.Repeat("0", 64))
	digest, hash := []byte(in.RootDigest), []byte(in.RootHash)
	for _, tc := range []struct {
		name, file string
		old, new   []byte
		want       string
	}{
		{"an object of raw", "raw/minimal-amd64.img", content, other, "proving the root of raw for amd64"},
		{"the digest of raw", "raw/minimal-amd64.img", digest, other2, in.RootDigest},
		{"the hash of raw", "raw/minimal-amd64.img", hash, other2, in.RootHash},
		{"the root partition's type", "raw/minimal-amd64.img", []byte("\xe3\xbc\x68\x4f"), []byte("\xe3\xbc\x68\x4e"), "partition table"},
		{"an object of iso", "iso/minimal-amd64.iso", content, other, "/root.img that EFI/BOOT/BOOTX64.EFI names"},
		{"the digest of iso", "iso/minimal-amd64.iso", digest, other2, "proving the root of iso"},
		{"an object of root.img", "kernel-initrd/root.img", content, other, "root.img that cmdline names"},
		{"an object of root.cpio", "kernel-initrd/root.cpio", content, other, "root.cpio"},
		{"the command line", "kernel-initrd/cmdline", digest, other2, in.RootDigest},
		{"the name in root.cpio", "kernel-initrd/root.cpio", []byte("root.img"), []byte("boot.img"), "begins with"},
		{"the script's digest", "ipxe/boot.ipxe", []byte("composefs=" + in.RootDigest), []byte("composefs=" + string(other2)), in.RootDigest},
		{"the script's kernel", "ipxe/boot.ipxe", []byte(in.Kernel.SHA256), other2, "vmlinuz has the SHA-256 digest"},
		{"the kernel", "kernel-initrd/vmlinuz", []byte("kernel"), []byte("KERNEL"), "proving the root of ipxe"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(dir, tc.file)
			whole := readFile(t, path)
			change(t, path, tc.old, tc.new)
			_, err := Cross(t.Context(), dir, a, 1)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
	if _, err := Cross(t.Context(), dir, a, 1); err != nil {
		t.Errorf("after all was put back: %v", err)
	}
}

// TestCrossMixed puts a family of another build among the others.
func TestCrossMixed(t *testing.T) {
	in := provableInput(t, "amd64")
	dir := buildAll(t, in)
	second := in
	parts := familiestest.New(t, in.Arch, in.Epoch, map[string]string{"sbin/init": "#!another\n"})
	second.RootImage, second.UKI, second.Cmdline = blobOf(t, parts.RootImage), blobOf(t, parts.UKI), parts.Cmdline
	second.Tree, second.Store = parts.Tree, parts.Store
	second.RootDigest, second.RootHash = hex.EncodeToString(parts.Root.Digest[:]), hex.EncodeToString(parts.Root.RootHash[:])
	other := buildAll(t, second)
	for _, f := range common() {
		if f.Name() == "ipxe" {
			continue // is found by the files that it loads
		}
		here, there := filepath.Join(dir, f.Name()), filepath.Join(other, f.Name())
		swap(t, here, there)
		_, err := Cross(t.Context(), dir, in.Arch, 2)
		if err == nil {
			t.Errorf("%s of another build goes unnoticed", f.Name())
		} else if f.Name() != "kernel-initrd" {
			for _, want := range []string{"comparing the roots for amd64", f.Name(), in.RootDigest, second.RootDigest} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not name %q", err, want)
				}
			}
		}
		swap(t, here, there)
	}
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	for _, move := range [][2]string{{a, a + ".tmp"}, {b, a}, {a + ".tmp", b}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryFamilyProves keeps Cross complete.
func TestEveryFamilyProves(t *testing.T) {
	for _, f := range All() {
		if _, ok := f.(Prover); !ok {
			t.Errorf("%s is no Prover", f.Name())
		}
	}
	if _, err := prove(t.Context(), throwaway{}, "", arch.Arch{}); err == nil {
		t.Error("a family that can't prove is believed")
	}
}

func FuzzParseIPXE(f *testing.F) {
	script, err := renderIPXE(provableInput(f, "amd64"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(script)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseIPXE(text)
		if err == nil && (s.args.blocks <= 0 || !strings.Contains(strings.ToLower(text), hex.EncodeToString(s.args.digest[:]))) {
			t.Errorf("%+v of %q", s, text)
		}
	})
}
