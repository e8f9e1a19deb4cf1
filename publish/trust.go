package publish

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"

	"github.com/powernode/bootsmith/builder/fault"
)

// TrustCA returns a transport that trusts the certificate authorities in a PEM
// file, beside the system's.
func TrustCA(base *http.Transport, path string) (*http.Transport, error) {
	raw, err := readBounded(path, maxManifest)
	if err != nil {
		return nil, fault.Inputf("reading the registry's certificate authority: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // the host has none
	}
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fault.Inputf("reading the registry's certificate authority %q: it has no PEM certificate", path)
	}
	t := base.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}
