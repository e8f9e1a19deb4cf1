//go:build boot

package vm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

const (
	definition = "../../../fixtures/platforms/minimal"
	// bootLimit is many times what a boot takes on an idle machine.
	bootLimit = 4 * time.Minute
	// retries is how often an emulated machine may die of its emulator.
	retries = 2
)

// TestBoot builds the minimal platform and boots every family that a virtual
// machine can start, on every architecture, to a shell on the serial console.
func TestBoot(t *testing.T) {
	output := buildMinimal(t)
	for _, a := range arch.All() {
		dir := filepath.Join(output, a.Name)
		m, err := manifest.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range vm.Families() {
			t.Run(a.Name+"/"+family, func(t *testing.T) {
				t.Parallel()
				machine := vm.Machine{Arch: a, Dir: dir, Family: family, Scratch: t.TempDir()}
				bootWithRetries(t, machine, m.ComposefsDigest)
			})
		}
	}
}

func buildMinimal(t *testing.T) string {
	t.Helper()
	output := filepath.Join(t.TempDir(), "build")
	var log bytes.Buffer
	env := cli.Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &log, Getenv: os.Getenv, Now: time.Now, HostRoot: "/"}
	if code := cli.Run(context.Background(), env, []string{"build", "--file", definition, "--output-dir", output}); code != 0 {
		t.Fatalf("build ended with %d:\n%s", code, log.String())
	}
	return output
}

func bootWithRetries(t *testing.T, m vm.Machine, digest string) {
	for try := 0; ; try++ {
		start := time.Now()
		log, err := boot(m, digest)
		if err == nil {
			t.Logf("reached the shell after %.1f s", time.Since(start).Seconds())
			return
		}
		// A panic of the kernel is the emulator's: our init ends in a message.
		if try == retries || !strings.Contains(log, "Kernel panic") && !strings.Contains(log, "IO-APIC + timer") {
			t.Fatalf("booting: %v; the console said:\n%s", err, log)
		}
		t.Logf("the guest's kernel panicked, trying again (%d of %d)", try+1, retries)
	}
}

// boot follows the console through the conversation and returns all it said.
func boot(m vm.Machine, digest string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	stdin, keyboard := io.Pipe()
	screen := newScreen()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx, stdin, screen, false); screen.close() }()

	err := converse(ctx, screen, keyboard, digest, m.Arch)
	cancel()
	keyboard.Close()
	if rerr := <-ended; err != nil && rerr != nil && !strings.Contains(rerr.Error(), "context canceled") {
		err = fmt.Errorf("%w (%w)", err, rerr)
	}
	return screen.String(), err
}

func converse(ctx context.Context, screen *screen, keyboard io.Writer, digest string, a arch.Arch) error {
	if err := screen.wait(ctx, "bootsmith-init: root verified composefs="+digest); err != nil {
		return err
	}
	if err := screen.wait(ctx, "minimal: userspace is up on Debian GNU/Linux 13 (trixie), "+a.Machine); err != nil {
		return err
	}
	for _, x := range []struct{ typed, seen string }{
		{"echo shell-$((6*7))", "shell-42"},
		{"busybox touch /usr/x", "Read-only file system"},
		{"busybox touch /x", "Read-only file system"},
		{"echo here > /etc/x && echo var > /var/x && cat /etc/x /var/x | busybox tr a-z A-Z", "HERE"},
	} {
		if _, err := fmt.Fprintln(keyboard, x.typed); err != nil {
			return err
		}
		if err := screen.wait(ctx, x.seen); err != nil {
			return fmt.Errorf("after typing %q: %w", x.typed, err)
		}
	}
	return nil
}

// screen keeps what a console prints and wakes those who wait for a text.
type screen struct {
	mu     sync.Mutex
	text   []byte
	seen   int // what wait has consumed
	closed bool
	news   chan struct{}
}

func newScreen() *screen { return &screen{news: make(chan struct{}, 1)} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.text = append(s.text, p...)
	s.mu.Unlock()
	s.wake()
	return len(p), nil
}

func (s *screen) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wake()
}

func (s *screen) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

// wait returns when the text was printed behind what was waited for before.
func (s *screen) wait(ctx context.Context, text string) error {
	for {
		s.mu.Lock()
		i := bytes.Index(s.text[s.seen:], []byte(text))
		if i >= 0 {
			s.seen += i + len(text)
		}
		closed := s.closed
		s.mu.Unlock()
		if i >= 0 {
			return nil
		}
		if closed {
			return fmt.Errorf("the machine ended before it printed %q", text)
		}
		select {
		case <-s.news:
		case <-ctx.Done():
			return fmt.Errorf("it did not print %q in time: %w", text, ctx.Err())
		}
	}
}
