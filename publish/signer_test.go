package publish_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

func TestOneCertificateServesManySignatures(t *testing.T) {
	s := startStack(t, localstack.Config{})
	var tokens atomic.Int32
	var later atomic.Int64
	signer, err := publish.NewSigner(publish.SignerOptions{
		SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath,
		Token: func(ctx context.Context) (string, error) {
			tokens.Add(1)
			return s.IssueToken(ctx)
		},
		Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, s)
	o.Signer = signer
	publishBuild(t, writeBuild(t, []string{"amd64"}, "raw", "iso"), o)
	if tokens.Load() != 1 {
		t.Errorf("%d tokens were used, want 1", tokens.Load())
	}
	later.Store(int64(8 * time.Minute)) // the certificate is about to expire
	publishBuild(t, writeBuild(t, []string{"arm64"}, "iso"), o)
	if tokens.Load() != 2 {
		t.Errorf("%d tokens were used, want 2", tokens.Load())
	}
}

// TestSigningSurvivesFaults breaks every service in turn for one request.
func TestSigningSurvivesFaults(t *testing.T) {
	s := startStack(t, localstack.Config{})
	for _, path := range []string{"/fulcio/", "/tsa/", "/rekor/"} {
		for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusConflict} {
			if status == http.StatusConflict && path != "/rekor/" {
				continue
			}
			var failed atomic.Bool
			faulty := &spy{before: func(req *http.Request) *http.Response {
				if strings.HasPrefix(req.URL.Path, path) && failed.CompareAndSwap(false, true) {
					return answer(status, "a fault")
				}
				return nil
			}}
			signer, err := publish.NewSigner(publish.SignerOptions{
				SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath, Token: s.IssueToken, Transport: faulty,
			})
			if err != nil {
				t.Fatal(err)
			}
			o := options(t, s)
			o.Repository += path + strconv.Itoa(status)
			o.Signer = signer
			publishBuild(t, writeBuild(t, []string{"amd64"}, "iso"), o)
			if !failed.Load() {
				t.Errorf("nothing was asked of %s", path)
			}
		}
	}
}

func TestSigningStopsWithItsContext(t *testing.T) {
	s := startStack(t, localstack.Config{})
	hang := hangingTransport{}
	signer, err := publish.NewSigner(publish.SignerOptions{SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath, Token: s.IssueToken, Transport: hang})
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, s)
	o.Signer = signer
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = publish.Publish(ctx, publish.Build{Dir: writeBuild(t, []string{"amd64"}, "iso")}, o)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("error %v after %v", err, time.Since(began))
	}
}

type hangingTransport struct{}

func (hangingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestForeignTrustRootIsNoticedBeforeUpload signs with services that do not
// belong to the trust root.
func TestForeignTrustRootIsNoticedBeforeUpload(t *testing.T) {
	s, other := startStack(t, localstack.Config{}), startStack(t, localstack.Config{})
	signer, err := publish.NewSigner(publish.SignerOptions{SigningConfig: s.SigningConfigPath, TrustedRoot: other.TrustedRootPath, Token: s.IssueToken})
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, s)
	o.Signer = signer
	_, err = publish.Publish(t.Context(), publish.Build{Dir: writeBuild(t, []string{"amd64"}, "iso")}, o)
	if fault.ClassOf(err) != fault.Remote || !strings.Contains(err.Error(), "trust root") {
		t.Errorf("error %v", err)
	}
}

func TestBadSignerOptions(t *testing.T) {
	s := startStack(t, localstack.Config{})
	empty := filepath.Join(t.TempDir(), "empty.json")
	writeTestFile(t, empty, []byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`))
	for name, o := range map[string]publish.SignerOptions{
		"no token":      {SigningConfig: s.SigningConfigPath, TrustedRoot: s.TrustedRootPath},
		"no config":     {TrustedRoot: s.TrustedRootPath, Token: s.IssueToken},
		"no root":       {SigningConfig: s.SigningConfigPath, Token: s.IssueToken},
		"swapped":       {SigningConfig: s.TrustedRootPath, TrustedRoot: s.SigningConfigPath, Token: s.IssueToken},
		"empty config":  {SigningConfig: empty, TrustedRoot: s.TrustedRootPath, Token: s.IssueToken},
		"no such files": {SigningConfig: "/none", TrustedRoot: "/none", Token: s.IssueToken},
	} {
		if _, err := publish.NewSigner(o); fault.ClassOf(err) != fault.Input {
			t.Errorf("%s: error %v, want one of class Input", name, err)
		}
	}
}

// TestLargeSBOM publishes an SBOM of a real system's size for all artifacts.
func TestLargeSBOM(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64", "arm64"}, allFamilies()...)
	sbom := append([]byte(`{"packages":["`), bytes.Repeat([]byte(`libexample-dev","`), 180_000)...)
	sbom = append(sbom, []byte(`"]}`)...)
	for _, arch := range []string{"amd64", "arm64"} {
		writeTestFile(t, filepath.Join(dir, arch, manifest.SPDXName), sbom)
	}
	began := time.Now()
	pubs := publishBuild(t, dir, options(t, s))
	t.Logf("12 artifacts with an SBOM of %d bytes pushed and signed in %v", len(sbom), time.Since(began))
	began = time.Now()
	r, err := publish.Verify(t.Context(), publish.Access{}, find(t, pubs, "raw").OCIRef, policy(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("one verified in %v", time.Since(began))
	if !bytes.Equal(r.Predicate(publish.PredicateSPDX), sbom) {
		t.Error("the SBOM has changed")
	}
	began = time.Now()
	publishBuild(t, dir, options(t, s))
	t.Logf("published again in %v", time.Since(began))
}

func TestMissingSBOM(t *testing.T) {
	s := startStack(t, localstack.Config{})
	dir := writeBuild(t, []string{"amd64"}, "iso")
	if err := os.Remove(filepath.Join(dir, "amd64", manifest.CycloneDXName)); err != nil {
		t.Fatal(err)
	}
	if _, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, options(t, s)); fault.ClassOf(err) != fault.Input {
		t.Errorf("error %v, want one of class Input", err)
	}
}
