package families

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/families/internal/foreign"
)

func TestKernelInitrd(t *testing.T) {
	in := testInput(t, "amd64")
	sink, dir := build(t, kernelInitrd{}, in)
	var names []string
	for _, a := range sink.Artifacts() {
		names = append(names, a.Name)
	}
	if want := []string{"vmlinuz", "initramfs.cpio.zst", "root.img", "root.cpio", "cmdline"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if main, err := sink.Main(); err != nil || main.Name != "initramfs.cpio.zst" {
		t.Errorf("%+v, %v", main, err)
	}
	for name, blob := range map[string]Blob{"vmlinuz": in.Kernel, "initramfs.cpio.zst": in.Initramfs, "root.img": in.RootImage} {
		if !bytes.Equal(readFile(t, dir, name), readFile(t, blob.Path)) {
			t.Errorf("%s differs", name)
		}
	}
	if got := string(readFile(t, dir, "cmdline")); got != in.Cmdline+"\n" {
		t.Errorf("cmdline %q", got)
	}
	checkRootCPIO(t, in, filepath.Join(dir, "root.cpio"))
}

func checkRootCPIO(t *testing.T, in Input, path string) {
	t.Helper()
	listing := foreign.Run(t, "cpio", "cpio", "-itv", "-F", path)
	if lines := strings.Count(listing, "root.img"); lines != 1 || !strings.Contains(listing, "Nov 22") {
		t.Errorf("cpio: %s", listing)
	}
	out := foreign.Run(t, "cpio", "cpio", "--quiet", "-i", "--to-stdout", "-F", path, "root.img")
	if !bytes.Equal([]byte(out), readFile(t, in.RootImage.Path)) {
		t.Error("root.img in root.cpio differs")
	}
}
