package publish_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
)

func tokenFor(s *localstack.Stack, w localstack.Workflow) publish.TokenSource {
	return func(ctx context.Context) (string, error) {
		return s.Token(ctx, localstack.TokenRequest{Workflow: w})
	}
}

// refused fails the test unless err is a refusal for a reason.
func refused(t *testing.T, err error, want publish.Reason) {
	t.Helper()
	t.Log(err)
	if publish.ReasonOf(err) != want || fault.ClassOf(err) != fault.Remote {
		t.Errorf("error %v (reason %q, class %v), want a refusal with %q", err, publish.ReasonOf(err), fault.ClassOf(err), want)
	}
}

func TestVerifyRefusesStrangers(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s)), "iso")
	other := startStack(t, localstack.Config{})
	change := func(f func(p *publish.Policy)) publish.Policy {
		p := policy(s)
		f(&p)
		return p
	}
	id, iss := regexp.QuoteMeta(s.Identity), regexp.QuoteMeta(s.Issuer)
	for name, p := range map[string]publish.Policy{
		"wrong identity":         change(func(p *publish.Policy) { p.IdentityRegexp = `https://gitea\.example\.org/acme/other/.*` }),
		"wrong issuer":           change(func(p *publish.Policy) { p.IssuerRegexp = `https://token\.example\.org` }),
		"identity's beginning":   change(func(p *publish.Policy) { p.IdentityRegexp = id[:len(id)-1] }),
		"identity's end":         change(func(p *publish.Policy) { p.IdentityRegexp = id[1:] }),
		"issuer's beginning":     change(func(p *publish.Policy) { p.IssuerRegexp = iss[:len(iss)-1] }),
		"issuer's end":           change(func(p *publish.Policy) { p.IssuerRegexp = iss[1:] }),
		"identity swapped":       change(func(p *publish.Policy) { p.IdentityRegexp, p.IssuerRegexp = iss, id }),
		"alternation":            change(func(p *publish.Policy) { p.IdentityRegexp = `nobody|https://gitea\.example\.org/acme` }),
		"line anchors":           change(func(p *publish.Policy) { p.IdentityRegexp = `(?m)^https://gitea\.example\.org/acme$` }),
		"another CA's trust":     change(func(p *publish.Policy) { p.TrustedRootPath = other.TrustedRootPath }),
		"another branch's build": change(func(p *publish.Policy) { p.IdentityRegexp = strings.Replace(id, "main", "release", 1) }),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, p)
			refused(t, err, publish.SignatureFailed)
		})
	}
	_, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, change(func(p *publish.Policy) {
		p.RequirePredicates = []string{"https://example.org/boot-proof"}
	}))
	refused(t, err, publish.PredicateMissing)
}

// TestVerifyRefusesPartsOfAnotherRoot takes one part of the trust root from
// another instance.
func TestVerifyRefusesPartsOfAnotherRoot(t *testing.T) {
	s, other := startStack(t, localstack.Config{}), startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s)), "iso")
	for _, part := range []string{"certificateAuthorities", "tlogs", "ctlogs", "timestampAuthorities"} {
		own, foreign := readJSON(t, s.TrustedRootPath), readJSON(t, other.TrustedRootPath)
		if own[part] == nil {
			t.Fatalf("the trust root has no %s", part)
		}
		own[part] = foreign[part]
		raw, err := json.Marshal(own)
		if err != nil {
			t.Fatal(err)
		}
		p := policy(s)
		p.TrustedRoot = raw
		_, err = publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, p)
		refused(t, err, publish.SignatureFailed)
	}
}

func readJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerifyUnreachable(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s)), "iso")
	repo, _, _ := strings.Cut(pub.OCIRef, "@")
	for name, ref := range map[string]string{
		"no such digest": repo + "@sha256:" + strings.Repeat("0", 64),
		"no such tag":    repo + ":none",
		"no registry":    "127.0.0.1:1/x/y@" + pub.OCIDigest,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := publish.Verify(t.Context(), publish.Access{}, ref, policy(s))
			refused(t, err, publish.Unreachable)
			if _, err := publish.Resolve(t.Context(), publish.Access{}, ref); fault.ClassOf(err) != fault.Remote {
				t.Errorf("resolving: error %v, want one of class Remote", err)
			}
		})
	}
	for _, ref := range []string{"", "x", "127.0.0.1:1/UPPER@sha256:1", repo} {
		if _, err := publish.Verify(t.Context(), publish.Access{}, ref, policy(s)); fault.ClassOf(err) != fault.Input {
			t.Errorf("%q: error %v, want one of class Input", ref, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := publish.Verify(ctx, publish.Access{}, pub.OCIRef, policy(s)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

func TestVerifyLayout(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), options(t, s)), "iso")
	repository, _, _ := strings.Cut(pub.OCIRef, "@")
	dir := t.TempDir()
	layout, err := oci.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.ExtendedCopy(t.Context(), openRepo(t, repository), pub.OCIDigest, layout, "copied", oras.DefaultExtendedCopyOptions); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"copied", pub.OCIDigest} {
		r, err := publish.VerifyLayout(t.Context(), dir, ref, policy(s))
		if err != nil {
			t.Fatal(err)
		}
		if r.Digest != pub.OCIDigest || len(r.Layers) != 1 || r.Publication == nil {
			t.Errorf("verified %+v", r)
		}
	}
}

func TestLayers(t *testing.T) {
	s := startStack(t, localstack.Config{})
	pub := find(t, publishBuild(t, writeBuild(t, []string{"amd64"}, "kernel-initrd"), options(t, s)), "kernel-initrd")
	r, err := publish.Verify(t.Context(), publish.Access{}, pub.OCIRef, policy(s))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := publish.PullLayers(t.Context(), publish.Access{}, pub.OCIRef, r.Layers, dir, 0); err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile(filepath.Join(dir, "vmlinuz"))
	if err != nil || hexSum(kernel) != pub.SHA256 {
		t.Errorf("the pulled kernel differs (%v)", err)
	}
	for name, change := range map[string]func(body []byte) []byte{
		"one byte": func(b []byte) []byte { b[0]++; return b },
		"shorter":  func(b []byte) []byte { return b[1:] },
		"longer":   func(b []byte) []byte { return append(b, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			tamper := &spy{after: func(resp *http.Response) {
				if strings.HasSuffix(resp.Request.URL.Path, r.Layers[0].Digest) {
					setBody(resp, change(readBody(t, resp)))
				}
			}}
			err := publish.CheckLayers(t.Context(), publish.Access{Transport: tamper}, pub.OCIRef, r.Layers, 0)
			refused(t, err, publish.DigestMismatch)
			empty := t.TempDir()
			err = publish.PullLayers(t.Context(), publish.Access{Transport: tamper}, pub.OCIRef, r.Layers[:1], empty, 0)
			refused(t, err, publish.DigestMismatch)
			if left, _ := os.ReadDir(empty); len(left) != 0 {
				t.Errorf("files are left: %v", left)
			}
		})
	}
	gone := r.Layers[0]
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	refused(t, publish.CheckLayers(t.Context(), publish.Access{}, pub.OCIRef, []publish.Layer{gone}, 0), publish.Unreachable)
	for _, title := range []string{"../out", "/out", "a/../../out"} {
		bad := r.Layers[0]
		bad.Title = title
		if err := publish.PullLayers(t.Context(), publish.Access{}, pub.OCIRef, []publish.Layer{bad}, dir, 0); err == nil {
			t.Errorf("pulled a layer titled %q", title)
		}
	}
}

// TestImports keeps the weight of other tools, and any CA, out of the package.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		for _, banned := range []string{
			"github.com/sigstore/cosign/v2/cmd", "github.com/sigstore/cosign/v2/pkg/cosign", "github.com/sigstore/fulcio", "github.com/anchore/",
			"github.com/powernode/bootsmith/publish/localstack", "github.com/powernode/bootsmith/cmd", "github.com/powernode/bootsmith/callback",
		} {
			if strings.HasPrefix(path, banned) {
				t.Errorf("publish depends on %s", path)
			}
		}
	}
}
