package cli

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/publish"
)

// How often progress within a file is shown: in lines, and where it is
// overwritten.
const (
	lineEvery = 10 * time.Second
	liveEvery = 100 * time.Millisecond
)

// pushReporter shows what publish tells: files with the bytes that are sent, and
// what is signed. What the registry has is counted only.
type pushReporter struct {
	env    Env
	format string
	every  time.Duration
	report builder.Reporter // of text

	mu          sync.Mutex
	begun, last map[string]time.Time // by name of file
	sent, there struct {
		files int
		bytes int64
	}
}

func newPushReporter(env Env, format string) *pushReporter {
	p := &pushReporter{env: env, format: format, every: lineEvery, begun: map[string]time.Time{}, last: map[string]time.Time{}}
	if format == "json" || env.Width != nil {
		p.every = liveEvery
	}
	p.report = newReporter(env, format)
	return p
}

// pushLine is a line of JSON.
type pushLine struct {
	Time  time.Time `json:"time"`
	Stage string    `json:"stage"` // "publish/" and the kind of event
	Name  string    `json:"name"`
	// Bytes of Total are done: sent, or there already.
	Bytes  int64  `json:"bytes,omitempty"`
	Total  int64  `json:"total,omitempty"`
	Digest string `json:"digest,omitempty"`
}

// take takes an event.
func (p *pushReporter) take(e publish.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.env.Now()
	switch {
	case e.Total > 0 && e.Kind == publish.Pushed:
		p.sent.files++
		p.sent.bytes += e.Total
	case e.Total > 0 && e.Kind != publish.Pushing:
		p.there.files++
		p.there.bytes += e.Total
	}
	if e.Kind == publish.Pushing {
		if last, ok := p.last[e.Name]; ok && now.Sub(last) < p.every {
			return
		}
		p.last[e.Name] = now
	}
	if p.format == "json" {
		p.line(pushLine{Time: now, Stage: "publish/" + string(e.Kind), Name: e.Name, Bytes: e.Bytes, Total: e.Total, Digest: e.Digest})
		return
	}
	p.text(e, now)
}

func (p *pushReporter) line(l pushLine) {
	if b, err := json.Marshal(l); err == nil {
		fmt.Fprintf(p.env.Stderr, "%s\n", b)
	}
}

func (p *pushReporter) text(e publish.Event, now time.Time) {
	stage := "push " + e.Name
	begun, ok := p.begun[e.Name]
	if e.Kind == publish.Pushing {
		if !ok {
			p.begun[e.Name] = now
			p.report(builder.Event{Time: now, Stage: stage, State: builder.Started})
			return
		}
		p.report(builder.Event{Time: now, Stage: stage, State: builder.Progress, Detail: share(e.Bytes, e.Total)})
		return
	}
	if e.Total > 0 && e.Kind == publish.Skipped || e.Total == 0 && e.Kind != publish.Pushed && e.Kind != publish.Signed {
		return
	}
	if e.Total == 0 {
		stage = string(e.Kind) + " " + e.Name
	}
	done := builder.Event{Time: now, Stage: stage, State: builder.Finished}
	if ok {
		done.Elapsed = now.Sub(begun)
	}
	if e.Total > 0 {
		done.Detail = string(e.Kind) + ", " + megabytes(e.Total)
	}
	p.report(done)
}

// end says how much was sent, after all.
func (p *pushReporter) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.env.Now()
	if p.format == "json" {
		p.line(pushLine{Time: now, Stage: "publish/sent", Name: "files", Bytes: p.sent.bytes, Total: p.sent.bytes + p.there.bytes})
		return
	}
	detail := fmt.Sprintf("%s in %d files; %s in %d files were there", megabytes(p.sent.bytes), p.sent.files, megabytes(p.there.bytes), p.there.files)
	p.report(builder.Event{Time: now, Stage: "publish", State: builder.Progress, Detail: "sent " + detail})
}

func share(bytes, total int64) string {
	return fmt.Sprintf("%s of %s (%d %%)", megabytes(bytes), megabytes(total), 100*bytes/max(total, 1))
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
