package publish

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
)

func TestTrustCA(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	trusting, err := TrustCA(http.DefaultTransport.(*http.Transport), path)
	if err != nil {
		t.Fatal(err)
	}
	defer trusting.CloseIdleConnections()
	ref, err := registry.ParseReference(strings.TrimPrefix(server.URL, "https://") + "/a/b:c")
	if err != nil {
		t.Fatal(err)
	}
	resolve := func(via http.RoundTripper) error {
		repo := &remote.Repository{Client: &http.Client{Transport: via}, Reference: ref}
		_, err := repo.Resolve(t.Context(), "c")
		return remoteError(err)
	}
	if err := resolve(http.DefaultTransport); fault.ClassOf(err) != fault.Remote || !strings.Contains(err.Error(), "--registry-ca") {
		t.Errorf("error %v, want one that names --registry-ca", err)
	}
	if err := resolve(trusting); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("error %v, want the server's answer", err)
	}
	for _, bad := range []string{"trust_test.go", "none"} {
		if _, err := TrustCA(http.DefaultTransport.(*http.Transport), bad); fault.ClassOf(err) != fault.Input {
			t.Errorf("%s: error %v, want one of class Input", bad, err)
		}
	}
}
