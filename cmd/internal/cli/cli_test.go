package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/fault"
)

// testEnv is a surrounding without variables, input or output.
func testEnv(t *testing.T) Env {
	t.Helper()
	return Env{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard,
		Getenv:   func(string) string { return "" },
		Now:      func() time.Time { return time.Unix(1_800_000_000, 0) },
		HostRoot: t.TempDir(),
	}
}

// run executes a command line and returns its exit code and both streams.
func run(t *testing.T, env Env, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, log bytes.Buffer
	env.Stdout, env.Stderr = &out, &log
	code = Run(context.Background(), env, args)
	return code, out.String(), log.String()
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A user's mistake ends with the class's exit code and one line that says what
// to do.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "good/platform.yaml"), "name: x\nroot:\n  packages: {suite: trixie, include: [ab]}\n")
	unknown := write(t, filepath.Join(dir, "bad/platform.yaml"), "name: x\nroots: {}\n")
	for name, x := range map[string]struct {
		args []string
		code int
		want string
	}{
		"unknown verb":        {[]string{"bild"}, ExitInput, "bild"},
		"unknown flag":        {[]string{"build", "--fast"}, ExitInput, "see bootsmith build --help"},
		"extra argument":      {[]string{"build", "x"}, ExitInput, "see bootsmith build --help"},
		"no definition":       {[]string{"build", "--file", filepath.Join(dir, "none.yaml")}, ExitInput, "name a platform.yaml with --file"},
		"unknown field":       {[]string{"build", "--file", unknown}, ExitInput, `:2: roots: unknown field; did you mean "root"?`},
		"unknown family":      {[]string{"build", "--file", good, "--variants", "vhd", "--cache-dir", dir}, ExitInput, `looking up family "vhd": known are kernel-initrd`},
		"unknown arch":        {[]string{"build", "--file", good, "--arch", "mips", "--cache-dir", dir}, ExitInput, `looking up architecture "mips": known are amd64, arm64`},
		"bad log format":      {[]string{"build", "--file", good, "--log-format", "xml"}, ExitInput, "use text or json"},
		"no cache repository": {[]string{"build", "--file", good, "--cache-dir", dir, "--cache-from", "registry.example.com/x:tag"}, ExitInput, "preparing --cache-from: reading the repository \"registry.example.com/x:tag\": it has a tag or a digest; write it as registry/path"},
		"no cache to send to": {[]string{"build", "--file", good, "--cache-dir", dir, "--cache-to", "here"}, ExitInput, "preparing --cache-to: reading the repository \"here\": "},
		"no jobs":             {[]string{"build", "--file", good, "--jobs", "0"}, ExitInput, "reading --jobs 0: no stage could run; give 1 or more"},
		"negative age":        {[]string{"build", "--file", good, "--max-age", "-5h"}, ExitInput, "reading --max-age -5h0m0s: it is negative"},
		"no cache to trust":   {[]string{"build", "--file", good, "--cache-dir", dir, "--cache-identity-regexp", "^x$"}, ExitInput, "reading --cache-identity-regexp: it is for --cache-from"},
		"no cache to sign":    {[]string{"build", "--file", good, "--cache-dir", dir, "--cache-key", "key.pem"}, ExitInput, "reading --cache-key: it is for --cache-to"},
		"no matrix":           {[]string{"plan", "--file", good, "--runs-on", "x"}, ExitInput, "reading --runs-on: it is for --matrix"},
		"no cache folder":     {[]string{"build", "--file", good}, ExitInput, "give --cache-dir"},
		"no repository":       {[]string{"publish", "--file", good}, ExitInput, "publish.repository: missing; name the registry there or with --repository"},
		"no signing services": {[]string{"publish", "--repository", "registry.example.com/x"}, ExitInput, "give --signing-config and --trusted-root"},
		"nothing published":   {[]string{"notify", "--output-dir", dir}, ExitInput, "publish the build first"},
		"no identity":         {[]string{"verify", "registry.example.com/x@sha256:0"}, ExitInput, "name who may sign"},
		"match-all identity":  {[]string{"verify", "--identity-regexp", ".*", "--issuer-regexp", "https://i", "r"}, ExitInput, "it matches strangers"},
		"no webhook":          {[]string{"ship", "--file", good, "--repository", "registry.example.com/x"}, ExitInput, "give --webhook-url or set BOOTSMITH_WEBHOOK_URL"},
		"unbootable family":   {[]string{"run", "oci", "--output-dir", dir}, ExitInput, ""},
		"nothing to boot":     {[]string{"run", "raw", "--output-dir", dir}, ExitInput, "build the family first"},
		"no trust root":       {[]string{"ingest", "serve"}, ExitInput, "give --trusted-root"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := run(t, testEnv(t), x.args...)
			if code != x.code || !strings.Contains(stderr, x.want) {
				t.Errorf("exit code %d (want %d), stderr %q lacks %q", code, x.code, stderr, x.want)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "bootsmith: ") {
				t.Errorf("stderr is not one line of bootsmith's: %q", stderr)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	for class, want := range map[fault.Class]int{
		fault.Input: 2, fault.Tool: 3, fault.Build: 4, fault.Remote: 5, fault.Callback: 6, fault.Unknown: 1,
	} {
		err := fmt.Errorf("outer: %w", fault.Default(class, errors.New("inner")))
		if class == fault.Unknown {
			err = errors.New("plain")
		}
		if got := exitCode(err); got != want {
			t.Errorf("exit code of class %d = %d, want %d", class, got, want)
		}
	}
	if exitCode(nil) != 0 {
		t.Error("success has an exit code")
	}
}

func TestErrorsAreAnnotationsInWorkflows(t *testing.T) {
	env := testEnv(t)
	env.Getenv = func(name string) string { return map[string]string{"GITEA_ACTIONS": "true"}[name] }
	_, _, stderr := run(t, env, "build", "--file", "/nowhere/100%.yaml")
	if !strings.Contains(stderr, "\n::error::reading the definition: ") || !strings.Contains(stderr, "100%25.yaml") {
		t.Errorf("stderr = %q", stderr)
	}
}

func TestSchemaAndVersion(t *testing.T) {
	code, out, _ := run(t, testEnv(t), "schema")
	if code != 0 || !strings.Contains(out, `"qcow2"`) {
		t.Errorf("schema: %d %q", code, out)
	}
	code, out, _ = run(t, testEnv(t), "version")
	if code != 0 || !strings.HasPrefix(out, "bootsmith "+builder.Version) {
		t.Errorf("version: %d %q", code, out)
	}
}

func TestReporterFormats(t *testing.T) {
	e := builder.Event{Stage: "amd64/raw", State: builder.Finished, Elapsed: 1230 * time.Millisecond}
	var text, json bytes.Buffer
	newReporter(Env{Stderr: &text}, "text")(e)
	newReporter(Env{Stderr: &json}, "json")(e)
	if got := text.String(); !strings.Contains(got, "amd64/raw") || !strings.Contains(got, "1.23s") {
		t.Errorf("text = %q", got)
	}
	if got := json.String(); !strings.Contains(got, `"stage":"amd64/raw","state":"finished","elapsed_ns":1230000000`) {
		t.Errorf("json = %q", got)
	}
}

// What is told of no running stage, such as that a lock isn't used, stays on a
// terminal.
func TestLiveReporterKeepsNews(t *testing.T) {
	var out bytes.Buffer
	report := newReporter(Env{Stderr: &out, Width: func() int { return 40 }}, "text")
	report(builder.Event{Stage: "amd64/fetch", State: builder.Started})
	report(builder.Event{Stage: "lock", State: builder.Progress, Detail: "it doesn't fit\n any more\n"})
	if got := out.String(); !strings.Contains(got, "it doesn't fit; any more\n0 done, running: amd64/fetch") {
		t.Errorf("got %q", got)
	}
}

func TestLiveReporterShowsWhatRuns(t *testing.T) {
	var out bytes.Buffer
	report := newReporter(Env{Stderr: &out, Width: func() int { return 40 }}, "text")
	report(builder.Event{Stage: "amd64/fetch", State: builder.Started})
	report(builder.Event{Stage: "amd64/fetch", State: builder.Progress, Detail: "1.0 of 9.0 MiB"})
	report(builder.Event{Stage: "arm64/fetch", State: builder.Started})
	report(builder.Event{Stage: "amd64/fetch", State: builder.Finished, Elapsed: time.Second})
	report(builder.Event{Stage: "arm64/fetch", State: builder.Finished, Elapsed: time.Second})
	lines := strings.Split(out.String(), clearLine)
	if want := "0 done, running: amd64/fetch 1.0 of 9.0"; lines[2] != want {
		t.Errorf("status = %q, want %q", lines[2], want)
	}
	if !strings.HasSuffix(lines[4], "\n1 done, running: arm64/fetch") || !strings.HasPrefix(lines[4], "amd64/fetch ") {
		t.Errorf("after the first stage: %q", lines[4])
	}
	if strings.Contains(lines[5], "running") {
		t.Errorf("at the end: %q", lines[5])
	}
}
