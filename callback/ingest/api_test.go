package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/callback"
)

// answer is what the API said.
type answer struct {
	Success    bool
	Data       json.RawMessage
	NextCursor string `json:"next_cursor"`
	Error      string
	Message    string
}

// call makes a request with a token.
func (b *bench) call(token, method, path, body string, status int) answer {
	b.t.Helper()
	r := httptest.NewRequest(method, "/api/v1/system/"+path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	b.service.Handler().ServeHTTP(w, r)
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != status || a.Success != (status < 300) || (a.Error == "") != a.Success {
		b.t.Errorf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		b.t.Errorf("%s %s: headers %v", method, path, w.Header())
	}
	return a
}

func into[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.Data, &v); err != nil {
		t.Fatalf("%s: %v", a.Data, err)
	}
	return v
}

const trust = `"cosign_identity_regexp":"https://ci\\.example\\.com/.*","cosign_issuer_regexp":"https://ci\\.example\\.com"`

func TestProvisionAndInspect(t *testing.T) {
	b := newBench(t)
	b.run(b.service)
	p := into[Platform](t, b.call(operateToken, "POST", "node_platforms", `{"name":"edge",`+trust+`}`, 201))
	if p.ID == "" || p.DiskImageRetentionCount != DefaultRetention || len(p.Warnings) != 0 {
		t.Errorf("%+v", p)
	}
	p = into[Platform](t, b.call(operateToken, "PATCH", "node_platforms/"+p.ID, `{"disk_image_retention_count":7,"cosign_issuer_regexp":"https://ci.example\\.com"}`, 200))
	if p.DiskImageRetentionCount != 7 || p.Name != "edge" || len(p.Warnings) != 1 {
		t.Errorf("%+v", p)
	}
	w := into[newWebhook](t, b.call(operateToken, "POST", "disk_image_webhooks", `{"platform_id":"`+p.ID+`"}`, 201))
	if !strings.HasPrefix(w.Secret, "whsec_") || w.Path != byID+w.ID {
		t.Errorf("%+v", w)
	}
	e := event(1)
	e.PlatformName = "edge"
	b.registry.push(e, nil)
	body, _ := e.Encode()
	id := b.post(w.Path, body, callback.Secret(w.Secret), nil).PublicationID
	b.await(id, StatusPublished, StatusPublished)
	one := into[map[string]any](t, b.call(readToken, "GET", "disk_image_publications/"+id, "", 200))
	for _, field := range strings.Fields("id oci_ref git_sha built_at cosign_identity sbom_url size_bytes sha256 status publication_status " +
		"publication_error artifact_family arch current composefs_digest roothash build_manifest_sha256 oci_digest cosign_issuer published_at layers") {
		if _, ok := one[field]; !ok {
			t.Errorf("field %q is missing in %v", field, one)
		}
	}
	list := into[[]Publication](t, b.call(readToken, "GET", "node_platforms/"+p.ID+"/disk_image_publications?current=true", "", 200))
	if len(list) != 1 || list[0].ID != id {
		t.Errorf("%+v", list)
	}
	attempts := into[[]Attempt](t, b.call(readToken, "GET", "disk_image_webhooks/"+w.ID+"/recent", "", 200))
	if len(attempts) != 1 || attempts[0].PublicationID != id {
		t.Errorf("%+v", attempts)
	}
	if all := into[[]Platform](t, b.call(readToken, "GET", "node_platforms", "", 200)); len(all) != 2 || all[0].Name != "edge" {
		t.Errorf("%+v", all)
	}
}

func TestPagesAndFilters(t *testing.T) {
	b := newBench(t)
	for n := range 5 {
		e := event(n)
		if n == 3 {
			e.Arch, e.ArtifactFamily = "arm64", "iso"
		}
		b.send(e, callback.StatusQueued)
	}
	var seen []string
	for cursor := ""; ; {
		a := b.call(readToken, "GET", "disk_image_publications?limit=2"+cursor, "", 200)
		for _, p := range into[[]Publication](t, a) {
			seen = append(seen, p.GitSHA)
		}
		if a.NextCursor == "" {
			break
		}
		cursor = "&cursor=" + a.NextCursor
	}
	for i, sha := range seen {
		if len(seen) != 5 || sha != event(4-i).GitSHA {
			t.Errorf("pages hold %v", seen)
		}
	}
	for query, count := range map[string]int{
		"arch=arm64": 1, "family=raw": 4, "family=raw&arch=arm64": 0, "status=queued": 5, "current=false": 5, "current=true": 0,
		"git_sha=" + event(2).GitSHA: 1, "platform=" + platformName: 5, "platform=" + b.platform.ID: 5, "platform=x": 0, "limit=200": 5,
	} {
		if got := into[[]Publication](t, b.call(readToken, "GET", "disk_image_publications?"+query, "", 200)); len(got) != count {
			t.Errorf("%s: %d publications, want %d", query, len(got), count)
		}
	}
}

func TestAPIErrors(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		token, method, path, body string
		status                    int
	}{
		{"", "GET", "disk_image_publications", "", 401},
		{"wrong", "GET", "disk_image_publications", "", 401},
		{readToken + "x", "GET", "disk_image_publications", "", 401},
		{workerToken, "GET", "disk_image_publications", "", 403},
		{readToken, "POST", "node_platforms", `{"name":"a",` + trust + `}`, 403},
		{readToken, "POST", "disk_image_webhooks", `{}`, 403},
		{operateToken, "GET", "disk_image_publications", "", 200},
		{readToken, "GET", "disk_image_publications/nobody", "", 404},
		{readToken, "GET", "node_platforms/nobody/disk_image_publications", "", 404},
		{readToken, "GET", "disk_image_webhooks/nobody/recent", "", 404},
		{readToken, "GET", "nothing", "", 404},
		{readToken, "DELETE", "node_platforms", "", 404},
		{readToken, "GET", "disk_image_publications?famly=raw", "", 422},
		{readToken, "GET", "disk_image_publications?arch=a&arch=b", "", 422},
		{readToken, "GET", "disk_image_publications?limit=0", "", 422},
		{readToken, "GET", "disk_image_publications?limit=201", "", 422},
		{readToken, "GET", "disk_image_publications?cursor=x", "", 422},
		{readToken, "GET", "disk_image_publications?current=maybe", "", 422},
		{operateToken, "POST", "node_platforms", `{"name":"` + platformName + `",` + trust + `}`, 409},
		{operateToken, "POST", "node_platforms", `{"name":"A b",` + trust + `}`, 422},
		{operateToken, "POST", "node_platforms", `{"name":"a"}`, 422},
		{operateToken, "POST", "node_platforms", `{"name":"a",` + trust + `,"nmae":1}`, 422},
		{operateToken, "POST", "node_platforms", `{"name":"a",` + trust + `} {}`, 422},
		{operateToken, "POST", "node_platforms", `{"name":"a",` + trust + `,"disk_image_retention_count":0}`, 422},
		{operateToken, "POST", "node_platforms", `{"name":"a",` + trust + `,"oci_repository":"https://x"}`, 422},
		{operateToken, "POST", "node_platforms", `{"name":"` + strings.Repeat("a", maxAPIBody) + `"}`, 422},
		{operateToken, "PATCH", "node_platforms/nobody", `{}`, 404},
		{operateToken, "PATCH", "node_platforms/" + b.platform.ID, `{"name":"b"}`, 422},
		{operateToken, "PATCH", "node_platforms/" + b.platform.ID, `{"cosign_identity_regexp":".*"}`, 422},
		{operateToken, "POST", "disk_image_webhooks", `{"platform_id":"nobody"}`, 404},
	} {
		b.call(c.token, c.method, c.path, c.body, c.status)
	}
}

func TestTooManyRequestsAreTurnedAway(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	h := limited(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}))
	serve := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w
	}
	for range maxRequests {
		go serve()
		<-entered
	}
	if w := serve(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	close(release)
}

// TestSecretsStayInside looks for the webhook's secret and the tokens in the
// database, in the log and in errors.
func TestSecretsStayInside(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t)
	b.service.cfg.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.post(byID+b.webhook.ID, []byte("{"), b.secret, nil)
	b.post(byID+b.webhook.ID, []byte("{}"), "another", nil)
	if err := b.service.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := os.ReadFile(b.cfg.DB)
	if err != nil || !bytes.Contains(db, []byte(b.webhook.ID)) {
		t.Fatalf("%d bytes, %v", len(db), err)
	}
	for name, text := range map[string]string{"database": string(db), "log": log.String()} {
		for _, secret := range []string{string(b.secret), strings.TrimPrefix(string(b.secret), "whsec_"), operateToken} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s holds a secret", name)
			}
		}
	}
}

func TestAnotherKeyOpensNothing(t *testing.T) {
	b := newBench(t)
	if err := b.service.Close(); err != nil {
		t.Fatal(err)
	}
	b.cfg.Key = bytes.Repeat([]byte{1}, KeySize)
	b.service = b.open()
	body, _ := event(1).Encode()
	r := httptest.NewRequest("POST", byID+b.webhook.ID, bytes.NewReader(body))
	_ = callback.Sign(r.Header, body, "msg_1", testNow, b.secret)
	w := httptest.NewRecorder()
	b.service.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	sealed, err := b.service.sealer.seal("a", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := b.service.sealer.open("a", sealed); err != nil || s != "secret" {
		t.Errorf("%v", err)
	}
	for id, text := range map[string]string{"b": sealed, "a": sealed[:len(sealed)-4] + "AAAA", "c": "", "d": "AQ=="} {
		if _, err := b.service.sealer.open(id, text); err == nil || strings.Contains(err.Error(), "secret\"") {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestOpenChecksItsConfig(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no database":  func(c *Config) { c.DB = "" },
		"no folder":    func(c *Config) { c.DB += "/absent/x" },
		"no verifier":  func(c *Config) { c.Verifier = nil },
		"short key":    func(c *Config) { c.Key = c.Key[1:] },
		"no clock":     func(c *Config) { c.Now = nil },
		"no random":    func(c *Config) { c.Rand = nil },
		"short token":  func(c *Config) { c.Tokens[0].Secret = "hidden" },
		"odd scope":    func(c *Config) { c.Tokens[0].Scopes = []Scope{"root"} },
		"broken rand":  func(c *Config) { c.Rand = strings.NewReader("") },
		"newer schema": func(c *Config) { newerSchema(t, *c) },
	} {
		cfg := newConfig(t, &registry{})
		spoil(&cfg)
		s, err := Open(cfg)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func newerSchema(t *testing.T, cfg Config) {
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = s.store.update(t.Context(), func(t *tx) error {
		return t.exec(`INSERT INTO schema_version (version) VALUES (?)`, len(migrations)+1)
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}
