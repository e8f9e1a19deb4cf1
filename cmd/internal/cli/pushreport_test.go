package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/publish"
)

// tellPush tells a reporter about a file of 100 MB that takes 25 seconds, one
// that is there, and a signature.
func tellPush(env Env, format string, width func() int) string {
	var out bytes.Buffer
	now := time.Unix(1_800_000_000, 0).UTC()
	env.Stderr, env.Width, env.Now = &out, width, func() time.Time { return now }
	p := newPushReporter(env, format)
	for done := int64(1); done <= 100; done++ {
		p.take(publish.Event{Kind: publish.Pushing, Name: "amd64/raw/x.img", Bytes: done * 1e6, Total: 100e6})
		now = now.Add(250 * time.Millisecond)
	}
	p.take(publish.Event{Kind: publish.Pushed, Name: "amd64/raw/x.img", Bytes: 100e6, Total: 100e6})
	p.take(publish.Event{Kind: publish.Skipped, Name: "amd64/iso/x.iso", Bytes: 5e6, Total: 5e6})
	p.take(publish.Event{Kind: publish.Mounted, Name: "amd64/oci/y", Bytes: 1e6, Total: 1e6})
	p.take(publish.Event{Kind: publish.Pushed, Name: "x amd64 raw", Digest: "sha256:00"})
	p.take(publish.Event{Kind: publish.Skipped, Name: "x amd64 iso", Digest: "sha256:01"})
	p.take(publish.Event{Kind: publish.Signed, Name: "x amd64 raw: sbom", Digest: "sha256:02"})
	p.end()
	return out.String()
}

func TestPushProgressInLines(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(tellPush(testEnv(t), "text", nil)), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	want := []string{
		"push amd64/raw/x.img 41.0 MB of 100.0 MB (41 %)",
		"push amd64/raw/x.img 81.0 MB of 100.0 MB (81 %)",
		"push amd64/raw/x.img 25.00s pushed, 100.0 MB",
		"push amd64/oci/y 0.00s mounted, 1.0 MB",
		"pushed x amd64 raw 0.00s",
		"signed x amd64 raw: sbom 0.00s",
		"publish sent 100.0 MB in 1 files; 6.0 MB in 2 files were there",
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("printed\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestPushProgressInJSON(t *testing.T) {
	kinds := map[string]int{}
	for line := range strings.Lines(tellPush(testEnv(t), "json", nil)) {
		var l pushLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		kinds[l.Stage]++
		if l.Stage == "publish/sent" && (l.Bytes != 100e6 || l.Total != 106e6) {
			t.Errorf("%+v", l)
		}
		if l.Stage == "publish/pushing" && (l.Name != "amd64/raw/x.img" || l.Total != 100e6 || l.Bytes == 0) {
			t.Errorf("%+v", l)
		}
	}
	for kind, want := range map[string]int{"publish/pushing": 100, "publish/pushed": 2, "publish/skipped": 2, "publish/mounted": 1, "publish/signed": 1, "publish/sent": 1} {
		if kinds[kind] != want {
			t.Errorf("%d lines of %s, want %d", kinds[kind], kind, want)
		}
	}
}

func TestPushProgressLive(t *testing.T) {
	out := tellPush(testEnv(t), "text", func() int { return 100 })
	for _, want := range []string{"\x1b[K0 done, running: push amd64/raw/x.img 2.0 MB of 100.0 MB (2 %)", "push amd64/raw/x.img 99.0 MB of 100.0 MB (99 %)", "pushed, 100.0 MB\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in %q", want, out)
		}
	}
}
