package cli

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
)

const account, password = "builder", "correct horse"

// guarded is a registry behind TLS and a password, in another place than
// loopback for whoever asks env's transport.
type guarded struct {
	host, ca string
	env      Env
}

func guard(t *testing.T, registry string) guarded {
	t.Helper()
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: registry}) }}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != account || pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	g := guarded{host: "registry.example.com", env: testEnv(t)}
	g.ca = write(t, filepath.Join(t.TempDir(), "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	g.env.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != g.host+":443" {
			return nil, fmt.Errorf("nobody is at %s", addr)
		}
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	t.Cleanup(g.env.Transport.CloseIdleConnections)
	return g
}

// Every verb that reaches a registry takes its certificate authority and an
// account, from flags or the environment.
func TestRegistryFlags(t *testing.T) {
	s, pubs := publishBuilt(t, writeBuilt(t))
	g := guard(t, s.Registry)
	at := func(ref string) string { return strings.Replace(ref, s.Registry, g.host, 1) }
	one, index := at(pubs.Publications[0].OCIRef), at(pubs.Repository)+":"+pubs.Index.Tag
	secret := write(t, filepath.Join(t.TempDir(), "password"), password+"\n")
	flags := []string{"--registry-ca", g.ca, "--registry-username", account, "--registry-password-file", secret}
	variables := map[string]string{RegistryCAVariable: g.ca, RegistryUsernameVariable: account, RegistryPasswordVariable: password}
	verbs := [][]string{
		append([]string{"verify", one}, policyFlags(s)...),
		append([]string{"verify", "--cross", index}, policyFlags(s)...),
		{"inspect", one},
	}
	for _, verb := range verbs {
		if code, _, stderr := run(t, g.env, append(verb, flags...)...); code != ExitOK {
			t.Errorf("%q with flags: exit code %d: %s", verb, code, stderr)
		}
		env := g.env
		env.Getenv = func(name string) string { return variables[name] }
		if code, _, stderr := run(t, env, verb...); code != ExitOK {
			t.Errorf("%q with variables: exit code %d: %s", verb, code, stderr)
		}
		for want, args := range map[string][]string{
			"name the certificate authority": nil,
			"log in to the registry":         flags[:2],
			"no password is given":           flags[:4],
			"without an account":             flags[4:],
			"--registry-password-file":       append(flags[:4:4], "--registry-password-file", "/missing"),
		} {
			code, _, stderr := run(t, g.env, append(verb, args...)...)
			if code != ExitRemote && code != ExitInput || !strings.Contains(stderr, want) {
				t.Errorf("%q with %q: exit code %d: %s", verb, args, code, stderr)
			}
		}
	}
}

func TestPublishLogsIn(t *testing.T) {
	dir := writeBuilt(t)
	s, _ := publishBuilt(t, writeBuilt(t))
	g := guard(t, s.Registry)
	g.env.Now = time.Now // tokens have an end
	token, err := s.IssueToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.env.Now = time.Now // the token is of today
	g.env.Getenv = func(name string) string {
		return map[string]string{RegistryUsernameVariable: account, RegistryPasswordVariable: password, "SIGSTORE_ID_TOKEN": token}[name]
	}
	g.env.Now = time.Now // the token is issued now
	code, out, stderr := run(t, g.env, "publish", "--output-dir", dir, "--repository", g.host+"/acme/other", "--registry-ca", g.ca,
		"--signing-config", s.SigningConfigPath, "--trusted-root", s.TrustedRootPath)
	if code != ExitOK || !strings.Contains(out, g.host+"/acme/other/minimal@sha256:") {
		t.Errorf("exit code %d: %s%s", code, out, stderr)
	}
	if strings.Contains(out+stderr, password) {
		t.Error("the password is printed")
	}
}

// An image to build from is fetched with the account and the certificate
// authority.
func TestImagesLogIn(t *testing.T) {
	s, pubs := publishBuilt(t, writeBuilt(t))
	g := guard(t, s.Registry)
	g.env.Getenv = func(name string) string {
		return map[string]string{RegistryUsernameVariable: account, RegistryPasswordVariable: password, "HOME": t.TempDir()}[name]
	}
	digest, err := v1.NewHash(pubs.Index.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for published, want := range map[string]fault.Class{g.host + "/acme/images": fault.Unknown, "other.example.com/x": fault.Remote, "": fault.Input} {
		images, err := registryFlags{ca: g.ca}.images(g.env, g.host+"/acme/images/minimal", published)
		if err == nil {
			var body io.ReadCloser
			if body, err = images.Manifest(t.Context(), digest); err == nil {
				err = body.Close()
			}
		}
		if fault.ClassOf(err) != want || (err != nil) != (want != fault.Unknown) {
			t.Errorf("published to %q: error %v", published, err)
		}
	}
}

// The password goes to one registry only.
func TestLoginIsForOneRegistry(t *testing.T) {
	env := testEnv(t)
	env.Getenv = func(name string) string {
		return map[string]string{RegistryUsernameVariable: account, RegistryPasswordVariable: password}[name]
	}
	for _, x := range []struct {
		host, want string
		refs       []string
	}{
		{"", "a.example.com", []string{"a.example.com/x:1", "a.example.com/y:2"}},
		{"b.example.com:5000", "b.example.com:5000", []string{"a.example.com/x:1"}},
		{"", "", []string{"a.example.com/x:1", "b.example.com/x:1"}},
		{"", "", nil},
	} {
		a, err := registryFlags{host: x.host}.access(env, x.refs...)
		if x.want == "" {
			if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "--registry-host") {
				t.Errorf("%q: error %v", x.refs, err)
			}
			continue
		}
		if want := (publish.Login{Host: x.want, Username: account, Password: password}); err != nil || *a.Login != want {
			t.Errorf("%q: %+v, %v", x.refs, a.Login, err)
		}
	}
	var told []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pass, ok := r.BasicAuth(); ok {
			told = append(told, pass)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	for want, at := range []string{"registry.example.com", host} {
		if code, _, _ := run(t, env, "inspect", host+"/x:1", "--registry-host", at); code != ExitRemote || len(told) != want {
			t.Errorf("%s: exit code %d, the password was told %d times", at, code, len(told))
		}
	}
}
