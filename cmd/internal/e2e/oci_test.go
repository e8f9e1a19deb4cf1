package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// inspection is what `skopeo inspect` prints of an image.
type inspection struct {
	Digest       string
	Architecture string
	Os           string
	Labels       map[string]string
	Layers       []string
}

// checkOCI lets skopeo read the layout, and copy it, which checks every blob, and
// umoci unpack it.
func checkOCI(t *testing.T, a artifacts) {
	image := inspect(t, a)
	if image.Digest != a.manifest.OCIDigest {
		t.Errorf("skopeo finds %s, the manifest says %q", image.Digest, a.manifest.OCIDigest)
	}
	if image.Architecture != a.arch.Name || image.Os != "linux" || len(image.Layers) == 0 {
		t.Errorf("skopeo finds %+v", image)
	}
	if image.Labels["containers.bootc"] != "1" {
		t.Errorf("the image is not labelled for bootc: %v", image.Labels)
	}
	skopeo.run(t, "", "copy", "--quiet", "oci:"+a.path("oci"), "dir:"+filepath.Join(t.TempDir(), "copy"))

	bundle := filepath.Join(t.TempDir(), "bundle")
	umoci.run(t, "", "unpack", "--rootless", "--image", a.path("oci")+":latest", bundle)
	modules := filepath.Join(bundle, "rootfs/usr/lib/modules", a.manifest.KernelVersion)
	if sumOfFile(t, filepath.Join(modules, "vmlinuz")) != sumOfFile(t, a.path("kernel-initrd/vmlinuz")) {
		t.Error("the image has another kernel")
	}
	info, err := os.Stat(filepath.Join(bundle, "rootfs/bin/busybox"))
	if err != nil || info.Size() == 0 {
		t.Errorf("the unpacked root has no busybox: %v", err)
	}
}

func inspect(t *testing.T, a artifacts) inspection {
	t.Helper()
	var image inspection
	text := skopeo.run(t, "", "--override-arch", a.arch.Name, "inspect", "oci:"+a.path("oci"))
	if err := json.Unmarshal(text, &image); err != nil {
		t.Fatal(err)
	}
	return image
}

// checkImageDigests finds the root's digests among the image's labels.
func checkImageDigests(t *testing.T, a artifacts) {
	t.Helper()
	var values []string
	for _, v := range inspect(t, a).Labels {
		values = append(values, v)
	}
	for _, digest := range []string{a.manifest.ComposefsDigest, a.manifest.RootHash} {
		if !strings.Contains(strings.Join(values, "\n"), digest) {
			t.Errorf("no label of the image has %s: %q", digest, values)
		}
	}
}
