package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish/localstack"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
)

// FuzzVerify gives the verifier a manifest and a bundle that is attached to it.
// Whatever they are, it must not crash, and accepts no other manifest than the one
// that was signed.
func FuzzVerify(f *testing.F) {
	s, err := localstack.Start(f.Context(), localstack.Config{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	signer, err := NewSigner(SignerOptions{SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath, Token: s.IssueToken})
	if err != nil {
		f.Fatal(err)
	}
	signed := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json",` +
		`"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[],"annotations":{"a":"b"}}`)
	bundle := signManifest(f, signer, signed)
	trusted, err := os.ReadFile(s.TrustedRootPath)
	if err != nil {
		f.Fatal(err)
	}
	policy := Policy{TrustedRoot: trusted, IdentityRegexp: regexp.QuoteMeta(s.Identity), IssuerRegexp: regexp.QuoteMeta(s.Issuer)}
	if err := verifyBytes(f, signed, bundle, policy); err != nil {
		f.Fatal(err)
	}
	f.Add(signed, bundle)
	for _, gone := range []string{"verificationMaterial", "dsseEnvelope", "mediaType"} {
		var b map[string]any
		if err := json.Unmarshal(bundle, &b); err != nil {
			f.Fatal(err)
		}
		delete(b, gone)
		raw, err := json.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(signed, raw)
	}
	f.Add([]byte(`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"x"}]}`), []byte(`{}`))
	f.Add([]byte(`{"layers":[{"mediaType":"application/vnd.dev.cosign.bundle.v1+json","digest":"sha256:../x","size":-1}]}`), []byte(`null`))
	f.Fuzz(func(t *testing.T, manifest, bundle []byte) {
		if err := verifyBytes(t, manifest, bundle, policy); err == nil && !bytes.Equal(manifest, signed) {
			t.Errorf("accepted the manifest %q", manifest)
		} else if err != nil && fault.ClassOf(err) != fault.Remote {
			t.Errorf("error %v, want a refusal", err)
		}
	})
}

func signManifest(f *testing.F, signer *Signer, manifest []byte) []byte {
	sum := sha256.Sum256(manifest)
	statement, err := newStatement("fuzz", hex.EncodeToString(sum[:]), PredicateSignature, struct{}{})
	if err != nil {
		f.Fatal(err)
	}
	raw, err := signer.sign(f.Context(), statementPayload(statement, sum[:]))
	if err != nil {
		f.Fatal(err)
	}
	return raw
}

// verifyBytes verifies a manifest with one bundle among its referrers.
func verifyBytes(t testing.TB, manifest, bundle []byte, policy Policy) error {
	ctx, store := context.Background(), memory.New()
	subject, err := oras.PushBytes(ctx, store, ocispec.MediaTypeImageManifest, manifest)
	if err != nil {
		return refuse(Unreachable, "the store takes no such manifest: %w", err)
	}
	layer, err := oras.PushBytes(ctx, store, BundleMediaType, bundle)
	if err != nil {
		t.Fatal(err)
	}
	referrer, err := pack(ocispec.Manifest{ArtifactType: BundleMediaType, Subject: &subject, Layers: []ocispec.Descriptor{layer}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.PushBytes(ctx, store, referrer.desc.MediaType, referrer.raw); err != nil {
		t.Fatal(err)
	}
	if err := store.Tag(ctx, subject, "fuzz"); err != nil {
		t.Fatal(err)
	}
	_, err = verifyIn(ctx, store, "fuzz", "fuzz", policy)
	return err
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		none := func() ([]byte, error) { return nil, errors.New("none") }
		if pair, err := parseKey(raw, none); err == nil {
			if _, err := parsePublicKey(pair.publicPEM()); err != nil {
				t.Errorf("its public key can't be read: %v", err)
			}
		}
		if key, err := parsePublicKey(raw); err == nil && key.verifier == nil {
			t.Error("a public key without a verifier")
		}
	})
}
