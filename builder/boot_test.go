package builder

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/kernel"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/families"
)

// defineWith writes a definition with these files beside it; a name that ends
// in "->" is a symlink to its text.
func defineWith(t *testing.T, more string, files map[string]string) *spec.File {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		link, isLink := strings.CutSuffix(name, "->")
		path := filepath.Join(dir, link)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if isLink {
			err = os.Symlink(text, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return define(t, dir, definition+more)
}

// firmware is a folder with the least that the Raspberry Pi needs.
func firmware() map[string]string {
	return map[string]string{"fw/start4.elf": "s", "fw/fixup4.dat": "f", "fw/overlays/a.dtbo": "a"}
}

func TestPickFamilies(t *testing.T) {
	const pi = "rpi4: {firmware: fw}\n"
	for name, x := range map[string]struct {
		more string
		r    Request
		want []string
		err  string
	}{
		"default":           {"", Request{}, families.Default(), ""},
		"with rpi4":         {pi, Request{}, families.Names(), ""},
		"listed":            {pi + "families: [disk-image-rpi4, raw]\n", Request{}, []string{"raw", "disk-image-rpi4"}, ""},
		"not listed":        {pi + "families: [raw]\n", Request{}, []string{"raw"}, ""},
		"flag":              {pi, Request{Families: []string{"disk-image-rpi4"}, Architectures: []string{"arm64"}}, []string{"disk-image-rpi4"}, ""},
		"without firmware":  {"families: [raw, disk-image-rpi4]\n", Request{}, nil, "rpi4: missing, and disk-image-rpi4 needs it"},
		"nothing for amd64": {pi + "families: [disk-image-rpi4]\n", Request{}, nil, "picking the families for amd64: none of"},
	} {
		x.r.File = defineWith(t, x.more, firmware())
		got, err := pickFamilies(x.r)
		if x.err != "" {
			if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), x.err) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, x.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, x.want)
		}
	}
}

// targetOf plans a definition and returns the build of one architecture.
func targetOf(t *testing.T, f *spec.File, archName string) *targetBuild {
	t.Helper()
	c := testConfig(t)
	p := newTestPlan(t, c, Request{File: f})
	i := slices.IndexFunc(p.Targets, func(x Target) bool { return x.Arch == archName })
	b, err := newTargetBuild(c, f, p, p.Targets[i], t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A family for one machine is built for its architecture only, and brings its
// modules there.
func TestLimitedFamilyInOneTarget(t *testing.T) {
	f := defineWith(t, "rpi4: {firmware: fw}\ninitramfs: {modules: [dm-crypt]}\n", firmware())
	for _, a := range arch.All() {
		b := targetOf(t, f, a.Name)
		limited := a.Name == "arm64"
		wanted := b.wantedModules()
		if b.builds(families.RPi4Name) != limited || slices.Contains(wanted.Required, "mmc_block") != limited {
			t.Errorf("%s: %q", a.Name, wanted.Required)
		}
		if !b.builds("raw") || !slices.Contains(wanted.Required, "dm-crypt") {
			t.Errorf("%s lacks what each has", a.Name)
		}
	}
}

func TestPlanTellsWhatBoots(t *testing.T) {
	files := firmware()
	files["added/lib/firmware/x"] = "1"
	const more = "rpi4: {firmware: fw}\ninitramfs: {files: added}\n"
	digest := func(f *spec.File) string {
		return newTestPlan(t, testConfig(t), Request{File: f, Revision: "0123456789"}).Digest()
	}
	first := digest(defineWith(t, more, files))
	if digest(defineWith(t, more, files)) != first {
		t.Error("two plans of equal files differ")
	}
	for _, name := range []string{"fw/overlays/a.dtbo", "added/lib/firmware/x"} {
		old := files[name]
		files[name] = "changed"
		if digest(defineWith(t, more, files)) == first {
			t.Errorf("the plan doesn't tell that %s has changed", name)
		}
		files[name] = old
	}
}

func TestInitramfsFiles(t *testing.T) {
	modules := []kernel.Module{{Path: "lib/modules/6/a.ko"}}
	f := defineWith(t, "initramfs: {files: added}\n", map[string]string{"added/lib/firmware/x": "12345", "added/lib/y->": "firmware/x"})
	got, err := targetOf(t, f, "amd64").initramfsFiles(t.Context(), modules)
	if err != nil || len(got) != 2 || got[0].Path != "lib/firmware/x" || got[0].Size != 5 || got[1].Target != "firmware/x" {
		t.Errorf("%+v, %v", got, err)
	}
	for name, taken := range map[string]string{
		"added/init": "init", "added/lib/bootsmith/modules": "lib/bootsmith/modules", "added/root.img": "root.img",
		"added/lib/modules/6/a.ko": "lib/modules/6/a.ko", "added/lib->": "lib/bootsmith/modules", "added/dev->": "dev",
	} {
		f := defineWith(t, "initramfs: {files: added}\n", map[string]string{name: "usr"})
		_, err := targetOf(t, f, "amd64").initramfsFiles(t.Context(), modules)
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), `the build puts "`+taken+`" there`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestESPTakesNoSymlinks(t *testing.T) {
	f := defineWith(t, "esp: files\n", map[string]string{"files/a": "1", "files/b->": "a"})
	_, err := targetOf(t, f, "amd64").espFiles(t.Context(), t.TempDir())
	if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "FAT knows no symlinks") {
		t.Errorf("%v", err)
	}
}

func TestLoadFirmware(t *testing.T) {
	s := testConfig(t).Store
	dir := t.TempDir()
	archive := filepath.Join(dir, "fw.tar.gz")
	writeArchive(t, archive, "firmware-1/README", "firmware-1/boot/start4.elf", "firmware-1/boot/fixup4.dat", "firmware-1/boot/overlays/a.dtbo")
	o, err := loadFirmware(t.Context(), archive, s)
	var names []string
	for _, e := range o {
		names = append(names, e.Path)
	}
	if err != nil || !slices.Equal(names, []string{"fixup4.dat", "overlays", "overlays/a.dtbo", "start4.elf"}) {
		t.Errorf("%q, %v", names, err)
	}
	two := filepath.Join(dir, "two.tar.gz")
	writeArchive(t, two, "a/start4.elf", "b/start4.elf")
	for name, want := range map[string]string{
		two: "holds 2 files start4.elf", dir: "holds 0 files start4.elf", archive + "x": "no such file",
		filepath.Join(dir, "platform.yaml"): "correct rpi4.firmware",
	} {
		if _, err := loadFirmware(t.Context(), name, s); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(two, []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadFirmware(t.Context(), two, s); fault.ClassOf(err) != fault.Input {
		t.Errorf("junk: %v", err)
	}
}

func writeArchive(t *testing.T, path string, names ...string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []interface{ Close() error }{w, z, f} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A plan's signer is the run's.
func TestCheckSigner(t *testing.T) {
	c := testConfig(t)
	f := parse(t, definition)
	p := newTestPlan(t, c, Request{File: f})
	p.Boot.CertificateSHA256 = "another"
	if _, err := Run(context.Background(), c, f, p, t.TempDir()); err == nil || !strings.Contains(err.Error(), "the certificate has changed") {
		t.Errorf("%v", err)
	}
}
