package rootforms

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// layer is one of an image's.
type layer struct {
	path string
	// verified tells that the root digest covers it.
	verified bool
}

// descriptor is what is read of OCI documents.
type descriptor struct {
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

// readLayers returns the layers of the one image of a layout.
func readLayers(t testing.TB, layout string) []layer {
	t.Helper()
	blob := func(d descriptor) string {
		return filepath.Join(layout, "blobs", strings.Replace(d.Digest, ":", "/", 1))
	}
	var index struct{ Manifests []descriptor }
	readJSON(t, filepath.Join(layout, "index.json"), &index)
	if len(index.Manifests) != 1 {
		t.Fatalf("the layout has %d images", len(index.Manifests))
	}
	var manifest struct{ Layers []descriptor }
	readJSON(t, blob(index.Manifests[0]), &manifest)
	var all []layer
	for _, d := range manifest.Layers {
		all = append(all, layer{blob(d), d.Annotations["dev.powernode.bootsmith.layer"] == "root"})
	}
	return all
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("reading %q: %v", path, err)
	}
}
