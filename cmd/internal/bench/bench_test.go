package bench

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func samples(seconds ...int) []Sample {
	var all []Sample
	for _, s := range seconds {
		all = append(all, Sample{Wall: time.Duration(s) * time.Second, CPU: 2 * time.Duration(s) * time.Second, RSS: int64(s) << 20})
	}
	return all
}

func TestMarkdown(t *testing.T) {
	r := Report{Machine: "A machine.", Comparisons: []Comparison{{
		Title: "work", Target: 0.5,
		Ours:  &Contender{Name: "ours", Samples: samples(3, 1, 2), Bytes: 5 << 20},
		Other: &Contender{Name: "other 1.0", Samples: samples(8, 4), Bytes: 7 << 20},
	}}}
	again := r.Comparisons[0]
	r.Put(Comparison{Title: "more", Ours: again.Ours, Other: again.Other})
	r.Put(Comparison{Title: "work", Ours: again.Other, Other: again.Ours})
	if len(r.Comparisons) != 2 || r.Comparisons[0].Ours != again.Other {
		t.Errorf("put in: %+v", r.Comparisons)
	}
	r.Comparisons = []Comparison{again}
	name := filepath.Join(t.TempDir(), "report.json")
	if err := r.Save(name); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(name)
	if err != nil || !reflect.DeepEqual(loaded, r) {
		t.Errorf("loaded %+v, %v", loaded, err)
	}
	want := "A machine.\n\n" + tableHead + `| work | other 1.0 | 2 | 6.0 (4.0 to 8.0) | 12.0 | 8 | 7 |
| work | ours | 3 | 2.0 (1.0 to 3.0) | 4.0 | 3 | 5 |

| work | ours of the other's wall time | of its processor time | target |
|---|---|---|---|
| work | 0.33 | 0.33 | at most 0.50 |
`
	if got := loaded.Markdown(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := Load(name + "x"); err == nil || !strings.Contains(err.Error(), "make bench") {
		t.Errorf("without a report: %v", err)
	}
}

// contender runs a program that takes some time and memory.
func contender(order *[]string, name string, argv ...string) *Contender {
	return &Contender{
		Name:    name,
		Prepare: func(context.Context) error { *order = append(*order, name); return nil },
		Command: func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, argv[0], argv[1:]...) },
		Output:  func() (int64, error) { return 42, nil },
	}
}

func TestRunTakesTurns(t *testing.T) {
	var order []string
	c := Comparison{Ours: contender(&order, "ours", "true"), Other: contender(&order, "other", "sleep", "0.2")}
	if err := c.Run(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if want := []string{"other", "ours", "other", "ours"}; !reflect.DeepEqual(order, want) {
		t.Errorf("the order was %q", order)
	}
	for _, s := range c.Other.Samples {
		if s.Wall < 200*time.Millisecond || s.RSS < 1<<16 || s.CPU > s.Wall {
			t.Errorf("sleeping took %+v", s)
		}
	}
	if len(c.Ours.Samples) != 2 || c.Ours.Bytes != 42 {
		t.Errorf("ours: %+v", c.Ours)
	}
}

func TestRunReportsFailures(t *testing.T) {
	var order []string
	c := Comparison{Ours: contender(&order, "ours", "ls", "/nonexistent"), Other: contender(&order, "other", "true")}
	if err := c.Run(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "running ours") || !strings.Contains(err.Error(), "nonexistent") {
		t.Errorf("a program that fails: %v", err)
	}
	c.Other.Prepare = func(context.Context) error { return errors.New("no space") }
	if err := c.Run(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "preparing other: no space") {
		t.Errorf("a preparation that fails: %v", err)
	}
}

func TestMirrorFetchesOnce(t *testing.T) {
	requests := 0
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		switch r.URL.Path {
		case "/debian/pool/a.deb":
			io.WriteString(w, "content")
		case "/debian/pool/cut.deb":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "cut")
		default:
			http.NotFound(w, r)
		}
	}))
	defer source.Close()
	dir := t.TempDir()
	mirror := httptest.NewServer(&Mirror{Dir: filepath.Join(dir, "mirror"), Source: source.URL + "/debian"})
	defer mirror.Close()
	get := func(path string) (int, string) {
		res, err := http.Get(mirror.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if status, body := get("/pool/a.deb"); status != http.StatusOK || body != "content" {
			t.Errorf("%d %q", status, body)
		}
	}
	if requests != 1 {
		t.Errorf("%d requests", requests)
	}
	if status, _ := get("/pool/none.deb"); status != http.StatusNotFound {
		t.Errorf("what the source doesn't have: %d", status)
	}
	if status, _ := get("/pool/cut.deb"); status != http.StatusBadGateway {
		t.Errorf("what the source cuts off: %d", status)
	}
	if status, body := get("/%2e%2e/secret"); status == http.StatusOK {
		t.Errorf("outside of the folder: %q", body)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "mirror", "pool", "*")); len(left) != 1 {
		t.Errorf("the folder holds %q", left)
	}
}
