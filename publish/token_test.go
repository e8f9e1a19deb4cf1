package publish

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
)

const testToken = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln"

func TestTokenLadder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(testToken+"-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "bearer secret" || r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("api-version") != "2.0" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		io.WriteString(w, `{"value":"`+testToken+`-actions"}`)
	}))
	defer server.Close()
	env := map[string]string{}
	o := TokenOptions{
		Token: testToken + "-flag", File: file, Command: "print a token",
		Run: func(context.Context, string) ([]byte, error) { return []byte(testToken + "-command\n"), nil },
		Getenv: func(name string) string {
			return map[string]string{
				"SIGSTORE_ID_TOKEN": testToken + "-env", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret",
				"ACTIONS_ID_TOKEN_REQUEST_URL": server.URL + "/token?api-version=2.0&audience=other",
			}[name] + env[name]
		},
	}
	for _, step := range []struct {
		want string
		next func()
	}{
		{"flag", func() { o.Token = "" }},
		{"file", func() { o.File = "" }},
		{"env", func() {
			old := o.Getenv
			o.Getenv = func(name string) string {
				if name == "SIGSTORE_ID_TOKEN" {
					return ""
				}
				return old(name)
			}
		}},
		{"command", func() { o.Command = "" }},
		{"actions", func() { o.Getenv = nil }},
	} {
		source, err := o.Source()
		if err != nil {
			t.Fatal(err)
		}
		token, err := source(t.Context())
		if err != nil || token != testToken+"-"+step.want {
			t.Errorf("token %q (%v), want the one from %s", token, err, step.want)
		}
		step.next()
	}
	_, err := o.Source()
	for _, way := range []string{"--identity-token", "SIGSTORE_ID_TOKEN", "--identity-token-command", "ACTIONS_ID_TOKEN_REQUEST_URL"} {
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), way) {
			t.Errorf("error %v does not name %s", err, way)
		}
	}
}

func TestTokensAreNotRepeated(t *testing.T) {
	for name, bad := range map[string]string{"two parts": "secret.part", "spaces": "a b.c.secret", "empty part": "secret..x", "long": strings.Repeat("secret", 20000) + ".a.b"} {
		_, err := checkToken([]byte(bad), "a file", time.Now())
		if fault.ClassOf(err) != fault.Input || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestActionsTokenIsStrict(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"unauthorized": {http.StatusUnauthorized, `{"value":"` + testToken + `"}`},
		"no value":     {http.StatusOK, `{}`},
		"no JSON":      {http.StatusOK, `<html>`},
		"no token":     {http.StatusOK, `{"value":"x"}`},
		"created":      {http.StatusCreated, `{"value":"` + testToken + `"}`},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		}))
		token, err := actionsToken(server.URL, "secret-bearer", nil, time.Now)(t.Context())
		if fault.ClassOf(err) != fault.Remote && name != "no token" {
			t.Errorf("%s: error %v is not of class Remote", name, err)
		}
		if err == nil || token != "" || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), testToken) && c.status != http.StatusUnauthorized {
			t.Errorf("%s: token %q, error %v", name, token, err)
		}
		server.Close()
	}
	if _, err := actionsToken("::", "x", nil, time.Now)(t.Context()); err == nil {
		t.Error("a malformed URL was taken")
	}
}

func TestExpiredTokensAreRefused(t *testing.T) {
	payload := func(claims string) string { return base64.RawURLEncoding.EncodeToString([]byte(claims)) }
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for claims, expired := range map[string]bool{
		`{"exp":1795348799}`: true, `{"exp":1795348800}`: true, `{"exp":1795348801}`: false, `{"exp":1795348801.5}`: false,
		`{}`: false, `{"exp":"soon"}`: false, `{"exp":1e300}`: false, `{"exp":-1}`: false, `nonsense`: false,
	} {
		_, err := checkToken([]byte("eyJ9."+payload(claims)+".c2ln"), "a file", now)
		if (err != nil) != expired || expired && (fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "expired at 2026-11-22T")) {
			t.Errorf("%s: error %v, expired: %v", claims, err, expired)
		}
	}
}
