package publish

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"google.golang.org/protobuf/encoding/protojson"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// What cosign 1 and 2 store under the tag "sha256-<hex>.sig" (cosign's
// specs/SIGNATURE_SPEC.md): an image whose layers are the signed texts, with the
// signature, its certificate and its timestamp as annotations.
const (
	simpleMediaType   = "application/vnd.dev.cosign.simplesigning.v1+json"
	simpleSignature   = "dev.cosignproject.cosign/signature"
	simpleCertificate = "dev.sigstore.cosign/certificate"
	simpleChain       = "dev.sigstore.cosign/chain"
	simpleTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// simpleTag returns the tag that holds a manifest's signature for cosign 2.
func simpleTag(manifest ocispec.Descriptor) string {
	return manifest.Digest.Algorithm().String() + "-" + manifest.Digest.Encoded() + ".sig"
}

// simpleText is the text that is signed ("simple signing"), with the repository's
// name as cosign writes it.
func simpleText(repository string, manifest ocispec.Descriptor) []byte {
	return []byte(`{"critical":{"identity":{"docker-reference":"` + repository + `"},"image":{"docker-manifest-digest":"` + manifest.Digest.String() +
		`"},"type":"cosign container image signature"},"optional":null}`)
}

// signSimple makes sure that a manifest has a signature of this identity that
// cosign 2 can read. Signatures of others under the same tag stay.
func (a *attester) signSimple(ctx context.Context, manifest ocispec.Descriptor, name string) error {
	if len(a.signer.services.tsas) == 0 && a.signer.key == nil {
		return fmt.Errorf("signing %s for cosign 2: the signing configuration names no timestamp authority", name)
	}
	tag := simpleTag(manifest)
	old, err := a.simpleLayers(ctx, tag)
	if err != nil {
		return remoteError(fmt.Errorf("looking for %s in %s: %w", tag, a.repo.Reference, err))
	}
	text := simpleText(a.repo.Reference.Registry+"/"+a.repo.Reference.Repository, manifest)
	for _, l := range old {
		if a.isOwnSimple(l, text) {
			a.report(Event{Kind: Skipped, Name: name + ": " + tag})
			return nil
		}
	}
	layer, err := a.simpleLayer(ctx, text)
	if err != nil {
		return err
	}
	m, err := a.packSimple(ctx, append(old, layer))
	if err != nil {
		return err
	}
	if err := a.manifest(ctx, m, tag, name+": "+tag); err != nil {
		return err
	}
	a.report(Event{Kind: Signed, Name: name + ": " + tag, Digest: m.desc.Digest.String()})
	return nil
}

// simpleLayers returns the signatures that are there.
func (a *attester) simpleLayers(ctx context.Context, tag string) ([]ocispec.Descriptor, error) {
	_, raw, err := fetchManifest(ctx, a.repo, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if json.Unmarshal(raw, &m) != nil || len(m.Layers) > maxReferrers {
		return nil, nil // it is no use to anybody
	}
	var layers []ocispec.Descriptor
	for _, l := range m.Layers {
		if readable(l, maxBundle) {
			layers = append(layers, l)
		}
	}
	return layers, nil
}

// simpleLayer signs a text and pushes it.
func (a *attester) simpleLayer(ctx context.Context, text []byte) (ocispec.Descriptor, error) {
	sum := sha256.Sum256(text)
	raw, err := a.signer.sign(ctx, payload{digest: sum[:], subject: sum[:], unlogged: true})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	b := &protobundle.Bundle{}
	if err := protojson.Unmarshal(raw, b); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("reading the new signature: %w", err)
	}
	desc, err := a.bytes(ctx, simpleMediaType, text)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc.Annotations, err = a.simpleProofs(b.GetVerificationMaterial())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc.Annotations[simpleSignature] = base64.StdEncoding.EncodeToString(b.GetMessageSignature().GetSignature())
	return desc, nil
}

// simpleProofs returns the annotations with the certificate, its chain and the
// timestamp. A key of the user's own has none of them but perhaps the last.
func (a *attester) simpleProofs(m *protobundle.VerificationMaterial) (map[string]string, error) {
	proofs := map[string]string{}
	if der := m.GetCertificate().GetRawBytes(); der != nil {
		chain, err := a.chain(der)
		if err != nil {
			return nil, err
		}
		proofs[simpleCertificate], proofs[simpleChain] = string(certificatePEM(der)), string(chain)
	}
	if stamps := m.GetTimestampVerificationData().GetRfc3161Timestamps(); len(stamps) > 0 {
		stamp, err := json.Marshal(map[string][]byte{"SignedRFC3161Timestamp": stamps[0].GetSignedTimestamp()})
		if err != nil {
			return nil, err
		}
		proofs[simpleTimestamp] = string(stamp)
	}
	return proofs, nil
}

// chain returns the certificates from a signing certificate's issuer to its root.
func (a *attester) chain(der []byte) ([]byte, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the signing certificate: %w", err)
	}
	for _, ca := range a.signer.root.FulcioCertificateAuthorities() {
		chains, err := ca.Verify(cert, cert.NotBefore.Add(time.Second))
		if err != nil || len(chains) == 0 {
			continue
		}
		var out []byte
		for _, c := range chains[0][1:] {
			out = append(out, certificatePEM(c.Raw)...)
		}
		return out, nil
	}
	return nil, errors.New("the trust root has no authority for the signing certificate")
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// packSimple makes the image that holds signatures, and pushes its configuration.
func (a *attester) packSimple(ctx context.Context, layers []ocispec.Descriptor) (packed, error) {
	ids := []string{}
	for _, l := range layers {
		ids = append(ids, l.Digest.String()) // the layers are not compressed
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "", "os": "", "config": struct{}{}, "rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	if err != nil {
		return packed{}, err
	}
	desc, err := a.bytes(ctx, ocispec.MediaTypeImageConfig, config)
	if err != nil {
		return packed{}, err
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: desc, Layers: layers}
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	return packed{desc: content.NewDescriptorFromBytes(m.MediaType, raw), raw: raw}, err
}

// isOwnSimple tells whether a layer is a valid signature of this identity over
// the text.
func (a *attester) isOwnSimple(l ocispec.Descriptor, text []byte) bool {
	sum := sha256.Sum256(text)
	if l.Digest != content.NewDescriptorFromBytes("", text).Digest {
		return false
	}
	signature, err := base64.StdEncoding.DecodeString(l.Annotations[simpleSignature])
	material, ok := a.simpleMaterial(l)
	if err != nil || !ok {
		return false
	}
	p := payload{digest: sum[:], subject: sum[:]}
	b := &protobundle.Bundle{MediaType: BundleMediaType, VerificationMaterial: material}
	p.fill(b, signature)
	parsed, err := bundle.NewBundle(b)
	if err != nil {
		return false
	}
	_, err = a.ownFile.check(parsed, p.subject)
	return err == nil
}

// simpleMaterial reads a layer's annotations back; ok is false when they are not
// such as this signer writes.
func (a *attester) simpleMaterial(l ocispec.Descriptor) (m *protobundle.VerificationMaterial, ok bool) {
	m = &protobundle.VerificationMaterial{}
	if a.signer.key != nil {
		m = a.signer.id.material()
	} else {
		block, _ := pem.Decode([]byte(l.Annotations[simpleCertificate]))
		if block == nil {
			return nil, false
		}
		m.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: block.Bytes}}
	}
	if text := l.Annotations[simpleTimestamp]; text != "" {
		var stamp struct{ SignedRFC3161Timestamp []byte }
		if json.Unmarshal([]byte(text), &stamp) != nil {
			return nil, false
		}
		m.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp.SignedRFC3161Timestamp}},
		}
	}
	return m, true
}
