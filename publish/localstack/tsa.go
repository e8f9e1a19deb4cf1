package localstack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/timestamp-authority/v2/pkg/verification"
)

// tsa is an RFC 3161 timestamp authority. Upstream's handler is configured
// through process-wide settings and cannot keep its key, so only its request
// checks are used.
type tsa struct {
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate // leaf, intermediate, root
	now   func() time.Time
}

func loadTSA(k keyring) (*tsa, error) {
	key, err := k.ecdsaKey("tsa.pem")
	if err != nil {
		return nil, err
	}
	chain, err := k.chain("tsa.pem", key, func() ([]*x509.Certificate, error) { return k.tsaChain(key) })
	return &tsa{key: key, chain: chain, now: k.now}, err
}

// tsaChain makes root, intermediate and leaf. The keys of the CAs sign once;
// the intermediate's is not kept.
func (k keyring) tsaChain(key *ecdsa.PrivateKey) ([]*x509.Certificate, error) {
	rootKey, err := k.ecdsaKey("tsa-root.pem")
	if err != nil {
		return nil, err
	}
	subKey, err := k.ecdsaKey("tsa-intermediate.pem")
	if err != nil {
		return nil, err
	}
	root, err := k.certify(&x509.Certificate{Subject: pkix.Name{CommonName: "local timestamp root"}, IsCA: true},
		rootKey.Public(), nil, rootKey)
	if err != nil {
		return nil, err
	}
	sub, err := k.certify(&x509.Certificate{
		Subject: pkix.Name{CommonName: "local timestamp intermediate"}, IsCA: true, MaxPathLenZero: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	}, subKey.Public(), root, rootKey)
	if err != nil {
		return nil, err
	}
	// RFC 3161 section 2.3: the extended key usage must be critical, which
	// x509.Certificate.ExtKeyUsage cannot say.
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, fmt.Errorf("encoding the key usage: %w", err)
	}
	leaf, err := k.certify(&x509.Certificate{
		Subject:         pkix.Name{CommonName: "local timestamp authority"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}, key.Public(), sub, subKey)
	return []*x509.Certificate{leaf, sub, root}, err
}

// routes registers the authority under /tsa/.
func (t *tsa) routes(mux *http.ServeMux, wrap func(http.Handler) http.Handler) {
	mux.Handle("POST /tsa/api/v1/timestamp", wrap(t))
	mux.HandleFunc("GET /tsa/api/v1/timestamp/certchain", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(chainPEM(t.chain))
	})
}

// ServeHTTP answers a TimeStampReq with a TimeStampResp (RFC 3161 section 3.4).
func (t *tsa) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") != "application/timestamp-query" {
		http.Error(w, "the content type must be application/timestamp-query", http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, fmt.Sprintf("reading the request: %v", err), http.StatusBadRequest)
		return
	}
	response, err := t.stamp(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	w.WriteHeader(http.StatusCreated)
	w.Write(response)
}

func (t *tsa) stamp(query []byte) ([]byte, error) {
	request, err := timestamp.ParseRequest(query)
	if err != nil {
		return nil, fmt.Errorf("reading the timestamp request: %w", err)
	}
	if err := verification.VerifyRequest(request); err != nil {
		return nil, fmt.Errorf("checking the timestamp request: %w", err)
	}
	if len(request.Extensions) > 0 {
		return nil, errors.New("checking the timestamp request: extensions are not supported")
	}
	policy := request.TSAPolicyOID
	if len(policy) == 0 {
		// The policy of Sigstore's own authority.
		policy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}
	}
	stamp := timestamp.Timestamp{
		HashAlgorithm: request.HashAlgorithm, HashedMessage: request.HashedMessage,
		// GeneralizedTime must be in UTC (RFC 5280 section 4.1.2.5.2).
		Time: t.now().UTC(), Accuracy: time.Second,
		Nonce: request.Nonce, Policy: policy, AddTSACertificate: request.Certificates,
	}
	response, err := stamp.CreateResponseWithOpts(t.chain[0], t.key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing the timestamp: %w", err)
	}
	return response, nil
}
