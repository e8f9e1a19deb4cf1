package inspect

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families"
	"github.com/powernode/bootsmith/families/familiestest"
)

// built is a small build for amd64.
type built struct {
	dir              string
	digest, roothash string
	cmdline          string
}

func build(t testing.TB) built {
	t.Helper()
	a := arch.All()[0]
	epoch := time.Date(2026, 11, 22, 10, 20, 30, 0, time.UTC)
	parts := familiestest.New(t, a, epoch, map[string]string{"sbin/init": "#!init" + strings.Repeat("\n", 9000), "var/lib/state": "state"})
	b := built{dir: filepath.Join(t.TempDir(), "amd64"), digest: hex.EncodeToString(parts.Root.Digest[:]), roothash: hex.EncodeToString(parts.Root.RootHash[:]), cmdline: parts.Cmdline}
	in := families.Input{
		Platform: "minimal", Arch: a, KernelVersion: "6.12-test", Tree: parts.Tree, Store: parts.Store, Cmdline: parts.Cmdline,
		Kernel: part(t, parts.Kernel), Initramfs: part(t, parts.Initramfs), RootImage: part(t, parts.RootImage), UKI: part(t, parts.UKI),
		RootDigest: b.digest, RootHash: b.roothash, Epoch: epoch, Scratch: t.TempDir(),
		ESP: []families.ESPFile{{Path: "identity.cfg", Blob: part(t, parts.Initramfs)}},
		ID:  func(purpose string) [16]byte { return [16]byte{1, byte(len(purpose)), purpose[0]} },
	}
	for _, name := range families.Default() {
		f, err := families.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Build(t.Context(), in, families.NewSink(filepath.Join(b.dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// part describes a file as a finished part.
func part(t testing.TB, path string) families.Blob {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := families.NewSink(t.TempDir()).Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	return families.Blob{Path: path, Size: f.Size(), SHA256: f.SHA256()}
}

// outline writes the kinds in a report, two spaces for each level.
func outline(r Report, indent string) string {
	s := indent + r.Name + ": " + r.Kind + "\n"
	for _, p := range r.Parts {
		if p.Kind != "section" {
			s += outline(p, indent+"  ")
		}
	}
	return s
}

// find returns the first report of a kind.
func find(r Report, kind string) (Report, bool) {
	if r.Kind == kind {
		return r, true
	}
	for _, p := range r.Parts {
		if found, ok := find(p, kind); ok {
			return found, true
		}
	}
	return Report{}, false
}

const diskOutline = `partition 1 "esp": FAT32 file system
  EFI/BOOT/BOOTX64.EFI: unified kernel image
  identity.cfg: data
partition 2 "root": root image
`

func indented(text, indent string) string {
	return indent + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+indent) + "\n"
}

func TestPath(t *testing.T) {
	b := build(t)
	for path, want := range map[string]string{
		"raw/minimal-amd64.img":     "minimal-amd64.img: disk with a GPT\n" + indented(diskOutline, "  "),
		"qcow2/minimal-amd64.qcow2": "minimal-amd64.qcow2: qcow2 image\n  disk: disk with a GPT\n" + indented(diskOutline, "    "),
		"iso/minimal-amd64.iso": "minimal-amd64.iso: ISO 9660 volume\n  boot.cat: data\n  efi.img: FAT32 file system\n" +
			"    EFI/BOOT/BOOTX64.EFI: unified kernel image\n    identity.cfg: data\n  root.img: root image\n",
		"kernel-initrd/root.img":  "root.img: root image\n",
		"kernel-initrd/root.cpio": "root.cpio: cpio archive\n  root.img: root image\n",
		"kernel-initrd/vmlinuz":   "vmlinuz: EFI program\n",
		"kernel-initrd/cmdline":   "cmdline: kernel command line\n",
		"ipxe/boot.ipxe":          "boot.ipxe: iPXE script\n",
	} {
		r, err := Path(t.Context(), filepath.Join(b.dir, path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got := outline(r, ""); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
		}
		if root, ok := find(r, "root image"); ok && (root.Facts.Get("root digest") != b.digest || root.Facts.Get("root hash") != b.roothash) {
			t.Errorf("%s: %v", path, root.Facts)
		}
		if program, ok := find(r, "unified kernel image"); ok && program.Facts.Get("kernel command line") != b.cmdline {
			t.Errorf("%s: %v", path, program.Facts)
		}
	}
}

func TestFolders(t *testing.T) {
	b := build(t)
	whole, err := Path(t.Context(), filepath.Dir(b.dir))
	if err != nil {
		t.Fatal(err)
	}
	image, ok := find(whole, "OCI image layout")
	if !ok || image.Facts.Get("label dev.powernode.bootsmith.composefs") != b.digest || image.Facts.Get("platform") != "linux/amd64" || len(image.Parts) < 2 {
		t.Errorf("%+v", image)
	}
	text := outline(whole, "")
	for _, name := range families.Default() {
		if !strings.Contains(text, "    "+name+": family\n") {
			t.Errorf("%s is missing in\n%s", name, text)
		}
	}
	if _, err := Path(t.Context(), t.TempDir()); fault.ClassOf(err) != fault.Input {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Path(t.Context(), "/nowhere"); fault.ClassOf(err) != fault.Input {
		t.Errorf("no folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Path(ctx, filepath.Dir(b.dir)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestImageRoot lints what the family oci makes.
func TestImageRoot(t *testing.T) {
	b := build(t)
	root, open, err := ImageRoot(t.Context(), filepath.Join(b.dir, "oci"), bootc.Reads)
	if err != nil {
		t.Fatal(err)
	}
	findings, err := bootc.Lint(bootc.Image{Tree: root, Open: open}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if len(f.Problems) > 0 {
			t.Errorf("%+v", f)
		}
	}
}

// TestDamage changes a byte; what is damaged must not pass for something whole.
func TestDamage(t *testing.T) {
	b := build(t)
	for _, path := range []string{"raw/minimal-amd64.img", "iso/minimal-amd64.iso", "kernel-initrd/root.img", "kernel-initrd/root.cpio"} {
		full := filepath.Join(b.dir, path)
		data, err := os.ReadFile(full)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(data, []byte("#!init"))
		data[at] ^= 1
		if err := os.WriteFile(full, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Path(t.Context(), full); err == nil || !strings.Contains(err.Error(), "dm-verity mismatch") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDocument(t *testing.T) {
	for text, want := range map[string]string{
		`{"spdxVersion":"SPDX-2.3","name":"x","packages":[{},{}]}`:                              `{"name":"d","kind":"SBOM (SPDX-2.3)","size_bytes":56,"facts":{"about":"x","packages":"2"}}`,
		`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{}]}`:                       `{"name":"d","kind":"SBOM (CycloneDX 1.6)","size_bytes":63,"facts":{"components":"1"}}`,
		`{"schema_version":2,"platform":"p","arch":"amd64","composefs_digest":"c","inputs":[]}`: `{"name":"d","kind":"build manifest","size_bytes":85,"facts":{"platform":"p","architecture":"amd64","root digest":"c","input packages":"0"}}`,
		`{"name":5}`: `{"name":"d","kind":"JSON document","size_bytes":10}`,
		`{`:          `{"name":"d","kind":"data","size_bytes":1}`,
	} {
		r, err := Document("d", []byte(text))
		if err != nil {
			t.Error(err)
		}
		if got, err := json.Marshal(r); err != nil || string(got) != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	b := build(f)
	for _, name := range []string{"kernel-initrd/root.img", "kernel-initrd/vmlinuz", "kernel-initrd/root.cpio", "ipxe/boot.ipxe", "kernel-initrd/cmdline"} {
		data, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(zstdMagic + "\x04\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := describe(t.Context(), newSource(bytes.NewReader(data), 0, int64(len(data))), "fuzz", 0)
		if err == nil && r.Kind == "" {
			t.Error("no kind")
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}
