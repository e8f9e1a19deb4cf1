package clients

import (
	"strings"
	"testing"
)

func TestVersions(t *testing.T) {
	for name, want := range map[string]string{"cosign": "GitVersion", "oras": "1.2"} {
		tool, err := Find(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := tool.Run(t.Context(), t.TempDir(), nil, "version")
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s says %q, %v; want %q", name, out, err, want)
		}
	}
}
