package e2e_test

import (
	"crypto/elliptic"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// refusal is what `verify --json` says of what it refuses.
type refusal struct {
	Verified bool
	Reason   string
	Error    string
}

// TestVerifyRefuses has `bootsmith verify` refuse everything that somebody can
// make who may write to the registry, or who has a certificate of the same
// authority in another name. Each is refused for its own reason.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	// The authorities' certificates are older than the test, so that they can have
	// issued something that has expired.
	state := filepath.Join(t.TempDir(), "sigstore")
	past := func() time.Time { return time.Now().Add(-2 * time.Hour) }
	aged, err := localstack.Start(t.Context(), localstack.Config{Dir: state, Now: past})
	if err != nil {
		t.Fatal(err)
	}
	if err := aged.Close(); err != nil {
		t.Fatal(err)
	}
	l := startLabIn(t, state, "")
	as := func(w localstack.Workflow) string { return l.publishAs(t, w, "ipxe") }
	as(localstack.Workflow{Ref: "refs/heads/earlier"}) // so that the log has other entries
	good := as(localstack.Workflow{})
	for _, c := range []struct {
		name   string
		ref    func(t *testing.T) string
		change func(v map[string]string) // of the flags
		reason publish.Reason
		says   string
	}{
		{"another ref that goes on after the expected one", func(*testing.T) string { return as(localstack.Workflow{Ref: "refs/heads/main-evil"}) },
			nil, publish.SignatureFailed, "main-evil"},
		{"another repository that goes on", func(*testing.T) string { return as(localstack.Workflow{Repository: "acme/images-evil"}) },
			nil, publish.SignatureFailed, "acme/images-evil"},
		{"an identity that ends with the expected one", func(*testing.T) string {
			return as(localstack.Workflow{Repository: "evil/" + l.stack.Identity[:strings.Index(l.stack.Identity, "/.gitea")]})
		}, nil, publish.SignatureFailed, "/evil/https://"},
		{"another workflow", func(*testing.T) string { return as(localstack.Workflow{File: ".gitea/workflows/evil.yml"}) },
			nil, publish.SignatureFailed, "evil.yml"},
		{"another ref", func(*testing.T) string { return as(localstack.Workflow{Ref: "refs/pull/1/merge"}) },
			nil, publish.SignatureFailed, "refs/pull/1/merge"},
		{"another repository", func(*testing.T) string { return as(localstack.Workflow{Repository: "acme/other"}) },
			nil, publish.SignatureFailed, "acme/other"},
		{"another issuer", func(t *testing.T) string { return l.publishByIssuer(t, "https://evil.example.org/api/actions") },
			nil, publish.SignatureFailed, "https://evil.example.org/api/actions"},
		{"an issuer that goes on", func(t *testing.T) string { return l.publishByIssuer(t, l.stack.Issuer+".evil.example.org") },
			nil, publish.SignatureFailed, l.stack.Issuer + ".evil.example.org"},
		{"a signature of another digest", func(t *testing.T) string { return l.forge(t, "moved", good, nil) },
			nil, publish.SignatureFailed, "does not match any digest in statement"},
		{"a bundle of another artifact", func(t *testing.T) string { return l.fileBundle(t, good) },
			nil, publish.SignatureFailed, "artifact does not match digest"},
		{"an expired certificate without a timestamp", func(t *testing.T) string { return l.expired(t, good, nil) },
			nil, publish.SignatureFailed, "threshold not met for verified signed timestamps"},
		{"an expired certificate with a timestamp of now", func(t *testing.T) string { return l.expired(t, good, l.stack) },
			nil, publish.SignatureFailed, "failed to verify leaf certificate"},
		{"that certificate with a timestamp of its time", func(t *testing.T) string {
			return l.expired(t, good, l.copyStack(t, localstack.Config{Now: func() time.Time { return time.Now().Add(-time.Hour) }}))
		}, nil, publish.SignatureFailed, "only able to verify 0 SCT entries"},
		{"another certificate authority", func(*testing.T) string { return good },
			func(v map[string]string) { v["--trusted-root"] = l.rootWith(t, "certificateAuthorities") }, publish.SignatureFailed, "failed to verify leaf certificate"},
		{"another timestamp authority", func(*testing.T) string { return good },
			func(v map[string]string) { v["--trusted-root"] = l.rootWith(t, "timestampAuthorities") }, publish.SignatureFailed, "threshold not met for verified signed timestamps"},
		{"another log", func(*testing.T) string { return good },
			func(v map[string]string) { v["--trusted-root"] = l.rootWith(t, "tlogs") }, publish.SignatureFailed, "not enough verified log entries"},
		{"another certificate log", func(*testing.T) string { return good },
			func(v map[string]string) { v["--trusted-root"] = l.rootWith(t, "ctlogs") }, publish.SignatureFailed, "only able to verify 0 SCT entries"},
		{"no log entry", func(t *testing.T) string {
			return l.forge(t, "", good, func(b bundles) { b.each(func(b object) { delete(b.in("verificationMaterial"), "tlogEntries") }) })
		}, nil, publish.SignatureFailed, "not enough verified log entries"},
		{"no proof in the log entry", func(t *testing.T) string {
			return l.forge(t, "", good, func(b bundles) { b.each(func(b object) { delete(b.entry(), "inclusionProof") }) })
		}, nil, publish.SignatureFailed, "no Sigstore bundle"},
		{"proof hashes reordered or repeated", func(t *testing.T) string {
			return l.forge(t, "", good, func(b bundles) {
				b.each(func(b object) {
					proof := b.entry().in("inclusionProof")
					hashes := proof["hashes"].([]any)
					slices.Reverse(hashes)
					if len(hashes) == 1 {
						proof["hashes"] = append(hashes, hashes[0])
					}
				})
			})
		}, nil, publish.SignatureFailed, "does not match expected root"},
		{"log entries duplicated", func(t *testing.T) string {
			return l.forge(t, "", good, func(b bundles) { b.each(func(b object) { b.in("verificationMaterial").double("tlogEntries") }) })
		}, nil, publish.SignatureFailed, "duplicate"},
		{"signatures duplicated", func(t *testing.T) string {
			return l.forge(t, "", good, func(b bundles) { b.each(func(b object) { b.in("dsseEnvelope").double("signatures") }) })
		}, nil, publish.SignatureFailed, "exactly one signature"},
		{"statements swapped between bundles", func(t *testing.T) string {
			return l.forge(t, "", good, func(b bundles) {
				s, p := b[publish.PredicateSignature], b[publish.PredicatePublication]
				s["dsseEnvelope"], p["dsseEnvelope"] = p["dsseEnvelope"], s["dsseEnvelope"]
			})
		}, nil, publish.SignatureFailed, "none of 5 bundles is a valid signature"},
		{"an SBOM in the place of the signature", func(t *testing.T) string {
			return l.forge(t, "", good, func(b bundles) { b[publish.PredicateSignature] = b[publish.PredicateSPDX] })
		}, nil, publish.SignatureFailed, "it has attestations, but no signature"},
		{"an SBOM twice in the place of another", func(t *testing.T) string {
			return l.forge(t, "", good, func(b bundles) { b[publish.PredicateCycloneDX] = b[publish.PredicateSPDX] })
		}, nil, publish.PredicateMissing, "no valid attestation of type " + publish.PredicateCycloneDX},
		{"stripped referrers", func(t *testing.T) string { return l.forge(t, "", good, func(b bundles) { clear(b) }) },
			nil, publish.SignatureFailed, "it has no Sigstore bundle among its referrers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			flags := map[string]string{
				"--identity-regexp": regexp.QuoteMeta(l.stack.Identity), "--issuer-regexp": regexp.QuoteMeta(l.stack.Issuer),
				"--trusted-root": l.stack.TrustedRootPath, "--predicate": "spdxjson,cyclonedx,slsaprovenance1,publication",
			}
			ref := c.ref(t)
			if c.change != nil {
				c.change(flags)
			}
			args := []string{"verify", "--json", ref}
			for _, name := range slices.Sorted(maps.Keys(flags)) {
				args = append(args, name, flags[name])
			}
			got := bootsmith(t.Context(), nil, args...)
			wantFailure(t, got, cli.ExitRemote, c.says)
			var r refusal
			if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
				t.Fatal(err)
			}
			if r.Verified || r.Reason != string(c.reason) || !strings.Contains(r.Error, c.says) {
				t.Errorf("it says %+v, want the reason %q and %q", r, c.reason, c.says)
			}
		})
	}
	// What all of that was made from is good, so it was refused for what was done
	// to it.
	got := bootsmith(t.Context(), nil, "verify", good, as(localstack.Workflow{}), "--trusted-root", l.stack.TrustedRootPath,
		"--identity-regexp", regexp.QuoteMeta(l.stack.Identity), "--issuer-regexp", regexp.QuoteMeta(l.stack.Issuer))
	if got.Code != cli.ExitOK {
		t.Errorf("verify ended with %d:\n%s", got.Code, got.stderr)
	}
}

// TestVerifyOffline verifies where there is no network but loopback, and on it
// nothing but a registry.
func TestVerifyOffline(t *testing.T) {
	t.Parallel()
	l := startLab(t, "")
	dir := l.published(t)
	identity, issuer, root := regexp.QuoteMeta(l.stack.Identity), regexp.QuoteMeta(l.stack.Issuer), l.stack.TrustedRootPath
	state := filepath.Dir(root)
	if err := l.stack.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{"verify", "--output-dir", dir, "--json", "--trusted-root", root, "--identity-regexp", identity, "--issuer-regexp", issuer, "--predicate", "publication"}
	for _, c := range []struct {
		registry string
		code     int
		says     string
	}{{state, cli.ExitOK, `"verified":true`}, {"", cli.ExitRemote, `"reason":"manifest_unreachable"`}} {
		got, err := host{Env: []string{"HOME=/nonexistent"}, NoNetwork: true, Registry: c.registry}.run(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		if got.Code != c.code || !strings.Contains(got.stdout, c.says) {
			t.Errorf("with the registry %q, verify ended with %d, want %d:\n%s%s", c.registry, got.Code, c.code, got.stdout, got.stderr)
		}
	}
}

// TestPublishWithKey signs with a key, encrypted by a passphrase in a file, and
// resumes what was published so.
func TestPublishWithKey(t *testing.T) {
	t.Parallel()
	l := startLab(t, "")
	dir := smallBuild(t, labPlatform)
	keys := t.TempDir()
	private, public, pass := filepath.Join(keys, "key.pem"), filepath.Join(keys, "key.pub"), filepath.Join(keys, "pass")
	privatePEM, publicPEM, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), cryptoutils.StaticPasswordFunc([]byte("secret")))
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{private: privatePEM, public: publicPEM, pass: []byte("secret\n")} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	repository := l.stack.Registry + "/acme/images"
	publishing := []string{"publish", "--output-dir", dir, "--key", private}
	wantFailure(t, bootsmith(t.Context(), nil, append(publishing, "--repository", repository)...), cli.ExitInput, "passphrase is missing or wrong")
	publishing = append(publishing, "--key-passphrase-file", pass)
	wantFailure(t, bootsmith(t.Context(), nil, append(publishing, "--resume")...), cli.ExitInput, "none was begun")
	wantFailure(t, bootsmith(t.Context(), nil, append(publishing, "--repository", repository, "--identity-token", "x")...), cli.ExitInput, "--key and an identity token")
	for _, how := range [][]string{{"--repository", repository}, {"--resume"}} {
		if got := bootsmith(t.Context(), nil, append(publishing, how...)...); got.Code != cli.ExitOK {
			t.Fatalf("publish %q ended with %d:\n%s", how, got.Code, got.stderr)
		}
	}
	wantFailure(t, bootsmith(t.Context(), nil, append(publishing, "--resume", "--repository", repository+"x")...), cli.ExitInput, "it was begun to")
	wantFailure(t, bootsmith(t.Context(), nil, append(publishing, "--resume", "--arch", "amd64")...), cli.ExitInput, "--arch")

	if got := bootsmith(t.Context(), nil, "verify", "--output-dir", dir, "--key", public); got.Code != cli.ExitOK || !strings.Contains(got.stdout, "signed by key:sha256:") {
		t.Errorf("verify ended with %d:\n%s%s", got.Code, got.stdout, got.stderr)
	}
	keyless := []string{"verify", "--output-dir", dir, "--identity-regexp", "https://ci/x", "--issuer-regexp", "https://ci"}
	wantFailure(t, bootsmith(t.Context(), nil, keyless...), cli.ExitInput, "--trusted-root")
	wantFailure(t, bootsmith(t.Context(), l.variables(labSecret), keyless...), cli.ExitRemote, "none of")
	wantFailure(t, bootsmith(t.Context(), nil, append(keyless, "--key", public)...), cli.ExitInput, "names a key and an identity")
	wantFailure(t, bootsmith(t.Context(), nil, "verify", "--output-dir", dir, "--key", private), cli.ExitInput, "not the private one")
	wantFailure(t, bootsmith(t.Context(), nil, "verify", "--output-dir", dir, "--key", public, "--predicate", "nonsense"), cli.ExitInput, "spdxjson")
}
