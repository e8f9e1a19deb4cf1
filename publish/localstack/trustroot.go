package localstack

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"

	pbtrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// trustedRoot returns trusted_root.json. Its URLs are names without a port, so
// that the file does not change with it; only the log's host name matters to
// verifiers.
func trustedRoot(a authority, s *sctSigner, t *tsa, r *rekor) ([]byte, error) {
	start := validFrom(a.chain)
	ctID := s.id()
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: a.chain[len(a.chain)-1], Intermediates: a.chain[:len(a.chain)-1],
			ValidityPeriodStart: start, URI: "http://fulcio.localhost",
		}},
		map[string]*root.TransparencyLog{hex.EncodeToString(ctID[:]): {
			BaseURL: "http://ctlog.localhost", ID: ctID[:], ValidityPeriodStart: start,
			HashFunc: crypto.SHA256, PublicKey: s.key.Public(), SignatureHashFunc: crypto.SHA256,
		}},
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Leaf: t.chain[0], Intermediates: t.chain[1 : len(t.chain)-1], Root: t.chain[len(t.chain)-1],
			ValidityPeriodStart: validFrom(t.chain), URI: "http://tsa.localhost",
		}},
		map[string]*root.TransparencyLog{hex.EncodeToString(r.id): {
			BaseURL: "http://" + logOrigin, ID: r.id, ValidityPeriodStart: start,
			HashFunc: crypto.SHA256, PublicKey: r.key.Public(), SignatureHashFunc: crypto.SHA256,
		}})
	if err != nil {
		return nil, fmt.Errorf("building the trusted root: %w", err)
	}
	out, err := tr.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding the trusted root: %w", err)
	}
	return stableJSON(out)
}

// signingConfig returns signing_config.json, version 0.2, for services below a URL
// and the issuers of tokens.
func signingConfig(url string, a authority, issuers []string) ([]byte, error) {
	at := func(url string, version uint32) root.Service {
		return root.Service{URL: url, MajorAPIVersion: version, Operator: "localhost", ValidityPeriodStart: validFrom(a.chain)}
	}
	service := func(path string, version uint32) []root.Service { return []root.Service{at(url+path, version)} }
	var oidc []root.Service
	for _, i := range issuers {
		oidc = append(oidc, at(i, 1))
	}
	one := root.ServiceConfiguration{Selector: pbtrust.ServiceSelector_ANY}
	sc, err := root.NewSigningConfig(root.SigningConfigMediaType02,
		service("/fulcio", 1), oidc,
		service("/rekor", 2), one, service("/tsa/api/v1/timestamp", 1), one)
	if err != nil {
		return nil, fmt.Errorf("building the signing configuration: %w", err)
	}
	out, err := sc.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding the signing configuration: %w", err)
	}
	return stableJSON(out)
}

func publicPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// stableJSON undoes the white space that protojson varies on purpose from one
// build of a program to the next.
func stableJSON(in []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := json.Indent(&out, in, "", "  "); err != nil {
		return nil, fmt.Errorf("formatting JSON: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
