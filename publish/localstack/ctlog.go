package localstack

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	ct "github.com/google/certificate-transparency-go"
	ctclient "github.com/google/certificate-transparency-go/client"
	"github.com/google/certificate-transparency-go/jsonclient"
	"github.com/google/certificate-transparency-go/tls"
)

// sctSigner answers Fulcio's submissions with signed certificate timestamps
// (RFC 6962 section 4.2). It keeps no log.
type sctSigner struct {
	key *ecdsa.PrivateKey
	spk []byte            // the public key, DER
	ca  *x509.Certificate // the only issuer it knows
	now func() time.Time
}

func loadSCTSigner(k keyring, ca *x509.Certificate) (*sctSigner, error) {
	key, err := k.ecdsaKey("ctlog.pem")
	if err != nil {
		return nil, err
	}
	spk, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the SCT key: %w", err)
	}
	return &sctSigner{key: key, spk: spk, ca: ca, now: k.now}, nil
}

// id is the log's ID: the SHA-256 of its public key (RFC 6962 section 3.2).
func (s *sctSigner) id() [32]byte { return sha256.Sum256(s.spk) }

func (s *sctSigner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request ct.AddChainRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, fmt.Sprintf("reading the chain: %v", err), http.StatusBadRequest)
		return
	}
	response, err := s.sign(request.Chain)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, http.StatusOK, response)
}

func (s *sctSigner) sign(chain [][]byte) (*ct.AddChainResponse, error) {
	if len(chain) < 2 || !bytes.Equal(chain[1], s.ca.Raw) {
		return nil, errors.New("the chain was not issued by this stack's CA")
	}
	precert, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("reading the precertificate: %w", err)
	}
	if err := precert.CheckSignatureFrom(s.ca); err != nil {
		return nil, fmt.Errorf("checking the precertificate: %w", err)
	}
	raw := []ct.ASN1Cert{{Data: chain[0]}, {Data: chain[1]}}
	millis := uint64(s.now().UnixMilli())
	leaf, err := ct.MerkleTreeLeafFromRawChain(raw, ct.PrecertLogEntryType, millis)
	if err != nil {
		return nil, fmt.Errorf("building the log entry: %w", err)
	}
	id := s.id()
	input, err := ct.SerializeSCTSignatureInput(
		ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: id}, Timestamp: millis},
		ct.LogEntry{Leaf: *leaf})
	if err != nil {
		return nil, fmt.Errorf("encoding the log entry: %w", err)
	}
	signed, err := tls.CreateSignature(*s.key, tls.SHA256, input)
	if err != nil {
		return nil, fmt.Errorf("signing the timestamp: %w", err)
	}
	sig, err := tls.Marshal(signed)
	if err != nil {
		return nil, fmt.Errorf("encoding the signature: %w", err)
	}
	return &ct.AddChainResponse{SCTVersion: ct.V1, ID: id[:], Timestamp: millis, Signature: sig}, nil
}

// client returns the client through which Fulcio reaches the signer: a plain
// call, so that the signer is open to nobody else and a stop can't come between.
func (s *sctSigner) client(log logf) (*ctclient.LogClient, error) {
	c, err := ctclient.New("http://ctlog.localhost", &http.Client{Transport: inProcess{s}},
		jsonclient.Options{PublicKeyDER: s.spk, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("preparing the SCT client: %w", err)
	}
	return c, nil
}

// inProcess is a transport that calls a handler.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &memoryResponse{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(w, r)
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// memoryResponse keeps a small response.
type memoryResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *memoryResponse) Header() http.Header         { return m.header }
func (m *memoryResponse) WriteHeader(status int)      { m.status = status }
func (m *memoryResponse) Write(p []byte) (int, error) { return m.body.Write(p) }

// logf is Config.Log with the method that the clients' logger interfaces ask for.
type logf func(format string, args ...any)

// Printf writes one line.
func (l logf) Printf(format string, args ...any) { l(format, args...) }

// Write takes a line of a standard logger.
func (l logf) Write(p []byte) (int, error) {
	l("%s", bytes.TrimSpace(p))
	return len(p), nil
}
