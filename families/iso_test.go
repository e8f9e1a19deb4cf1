package families

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/families/internal/foreign"
)

func TestISO(t *testing.T) {
	for _, a := range arch.All() {
		t.Run(a.Name, func(t *testing.T) {
			in := testInput(t, a.Name)
			sink, dir := build(t, iso{}, in)
			main, err := sink.Main()
			if err != nil || main.Name != "minimal-"+a.Name+".iso" {
				t.Fatalf("main file %+v, %v", main, err)
			}
			path := filepath.Join(dir, main.Name)
			checkVolume(t, in, path)
			checkVolumeAsDisk(t, in, path)
		})
	}
}

// checkVolume looks at the file as an optical drive's medium.
func checkVolume(t *testing.T, in Input, path string) {
	t.Helper()
	out := t.TempDir()
	foreign.Run(t, "xorriso", "xorriso", "-abort_on", "WARNING", "-osirrox", "on", "-indev", path, "-extract", "/", out)
	t.Cleanup(func() { os.Chmod(out, 0o700) })
	if !bytes.Equal(readFile(t, out, "root.img"), readFile(t, in.RootImage.Path)) {
		t.Error("/root.img differs")
	}
	checkESP(t, in, readFile(t, out, "efi.img"))
	report := foreign.Run(t, "xorriso", "xorriso", "-indev", path, "-report_el_torito", "plain")
	for _, want := range []string{"Volume id    : 'MINIMAL'", "El Torito boot img :   1  UEFI  y   none", "El Torito img path :   1  /efi.img"} {
		if !strings.Contains(report, want) {
			t.Errorf("xorriso does not say %q:\n%s", want, report)
		}
	}
	if out := foreign.Run(t, "genisoimage", "isovfy", path); !strings.Contains(out, "No errors found") {
		t.Errorf("isovfy: %s", out)
	}
	for flag, want := range map[string]string{"-R": "/root.img\n", "-J": "/root.img;1\n", "-l": "ROOT.IMG;1"} {
		if out := foreign.Run(t, "genisoimage", "isoinfo", "-f", flag, "-i", path); !strings.Contains(out, want) {
			t.Errorf("isoinfo %s does not find %q:\n%s", flag, want, out)
		}
	}
}

// checkVolumeAsDisk looks at the file as the content of a USB stick.
func checkVolumeAsDisk(t *testing.T, in Input, path string) {
	t.Helper()
	if out := foreign.Run(t, "gdisk", "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	report := foreign.Run(t, "xorriso", "xorriso", "-indev", path, "-report_system_area", "plain")
	for _, want := range []string{
		"System area summary: MBR protective-msdos-label cyl-align-off GPT",
		"GPT type GUID      :   1  28732ac11ff8d211ba4b00a0c93ec93b",
		"GPT partition path :   1  /efi.img",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("xorriso does not say %q:\n%s", want, report)
		}
	}
	listing := foreign.Run(t, "gdisk", "sgdisk", "-i", "1", path)
	for _, want := range []string{"EFI system partition", "First sector: 2048 "} {
		if !strings.Contains(listing, want) {
			t.Errorf("sgdisk does not say %q:\n%s", want, listing)
		}
	}
}
