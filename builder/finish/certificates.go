package finish

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

const (
	caDir     = "usr/share/ca-certificates"
	localDir  = "usr/local/share/ca-certificates"
	certsDir  = "etc/ssl/certs"
	bundle    = certsDir + "/ca-certificates.crt"
	caListing = "etc/ca-certificates.conf"
)

// makeCertificates does what update-ca-certificates(8) does: all certificates of
// the package and the local ones become symlinks, symlinks by their subject's
// hash, and one bundle.
func makeCertificates(_ context.Context, r *root, _ Input) error {
	paths, err := r.listCertificates()
	if err != nil {
		return err
	}
	var all bytes.Buffer
	hashed := map[string]int{}
	for _, p := range paths {
		text, err := r.read(p)
		if err != nil {
			return err
		}
		all.Write(text)
		if !bytes.HasSuffix(text, []byte("\n")) {
			all.WriteByte('\n')
		}
		if err := r.linkCertificate(p, text, hashed); err != nil {
			return fmt.Errorf("certificate %q: %w", p, err)
		}
	}
	return r.writeNew(bundle, all.String())
}

// listCertificates returns the certificates' paths. Those of the package are in
// /etc/ca-certificates.conf, which is made when it is missing; a "!" in front
// takes one out.
func (r *root) listCertificates() ([]string, error) {
	if !r.named(caListing) {
		found, err := r.below(caDir)
		if err != nil {
			return nil, err
		}
		text := "# Certificates below /usr/share/ca-certificates; a \"!\" in front takes one out.\n"
		for _, p := range found {
			text += strings.TrimPrefix(p, caDir+"/") + "\n"
		}
		if err := r.writeNew(caListing, text); err != nil {
			return nil, err
		}
	}
	lines, err := r.lines(caListing)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, l := range lines {
		if l != "" && !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "!") {
			paths = append(paths, path.Join(caDir, l))
		}
	}
	local, err := r.below(localDir)
	return append(paths, local...), err
}

// below returns the .crt files below a directory in bytewise order.
func (r *root) below(dir string) ([]string, error) {
	n, err := r.tree.Resolve(dir)
	if err != nil {
		return nil, nil // nothing local
	}
	var found []string
	var visit func(string, *tree.Node)
	visit = func(at string, n *tree.Node) {
		for _, c := range n.Children() {
			switch p := path.Join(at, c.Name); {
			case c.Inode.IsDir():
				visit(p, c)
			case strings.HasSuffix(c.Name, ".crt"):
				found = append(found, p)
			}
		}
	}
	visit(dir, n)
	return found, nil
}

func (r *root) linkCertificate(p string, text []byte, hashed map[string]int) error {
	name := strings.TrimSuffix(path.Base(p), ".crt")
	name = strings.NewReplacer(" ", "_", ",", "_", "(", "=", ")", "=").Replace(name) + ".pem"
	if err := r.link(path.Join(certsDir, name), "/"+p); err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return fmt.Errorf("not a PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	hash, err := subjectHash(cert.RawSubject)
	if err != nil {
		return err
	}
	n := hashed[hash]
	hashed[hash]++
	return r.link(path.Join(certsDir, fmt.Sprintf("%s.%d", hash, n)), name)
}
