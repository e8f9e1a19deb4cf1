//go:build boot

package vm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

// outcome is what came of a boot.
type outcome struct {
	console string
	// seconds from the start to the first line of the platform's own programs.
	seconds float64
	err     error
}

// bootArgs starts a machine with QEMU's arguments, follows its console until the
// platform's shell did what it was told, and returns all that the console said.
func bootArgs(args []string, a arch.Arch, digest string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	stdin, keyboard := io.Pipe()
	screen := newScreen()
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- vm.Start(ctx, args, stdin, screen, false); screen.close() }()

	seconds, err := converse(ctx, screen, keyboard, digest, a, start)
	cancel()
	keyboard.Close()
	if rerr := <-ended; err != nil && rerr != nil && !strings.Contains(rerr.Error(), "context canceled") {
		err = fmt.Errorf("%w (%w)", err, rerr)
	}
	return outcome{screen.String(), seconds, err}
}

func converse(ctx context.Context, screen *screen, keyboard io.Writer, digest string, a arch.Arch, start time.Time) (seconds float64, err error) {
	if err := screen.wait(ctx, "bootsmith-init: root verified composefs="+digest); err != nil {
		return 0, err
	}
	if err := screen.wait(ctx, userspace+" on Debian GNU/Linux 13 (trixie), "+a.Machine); err != nil {
		return 0, err
	}
	seconds = time.Since(start).Seconds()
	for _, x := range []struct{ typed, seen string }{
		{"echo shell-$((6*7))", "shell-42"},
		{"busybox touch /usr/x", "Read-only file system"},
		{"busybox touch /x", "Read-only file system"},
		{"echo here > /etc/x && echo var > /var/x && cat /etc/x /var/x | busybox tr a-z A-Z", "HERE"},
	} {
		if _, err := fmt.Fprintln(keyboard, x.typed); err != nil {
			return 0, err
		}
		if err := screen.wait(ctx, x.seen); err != nil {
			return 0, fmt.Errorf("after typing %q: %w", x.typed, err)
		}
	}
	return seconds, nil
}

// userspace is what the platform minimal says when it is up.
const userspace = "minimal: userspace is up"

// emulatorBroke says whether the console shows what only the emulator does: a
// panic of the kernel. Our init ends in a message.
func emulatorBroke(console string) bool {
	return strings.Contains(console, "Kernel panic") || strings.Contains(console, "IO-APIC + timer")
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
