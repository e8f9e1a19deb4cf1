//go:build boot

package vm_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

const (
	// bootLimit is many times what a boot takes on an idle machine.
	bootLimit = 8 * time.Minute
	// retries is how often an emulated machine may die of its emulator.
	retries = 2
	// machines is how many run at a time: each takes a core.
	machines = 2
)

// TestBoot builds the minimal platform with both kernels and boots the whole
// matrix, each to a shell on the serial console.
func TestBoot(t *testing.T) {
	l := newLab(t)
	rows := matrix()
	inParallel(t, machines, len(rows), func(t *testing.T, i int) (string, func(*testing.T)) {
		return rows[i].String(), func(t *testing.T) { bootRow(t, l, rows[i]) }
	})
}

// inParallel runs n subtests in their order, some at a time.
func inParallel(t *testing.T, workers, n int, subtest func(t *testing.T, i int) (string, func(*testing.T))) {
	t.Helper()
	next, done := make(chan int), make(chan struct{})
	for range workers {
		go func() {
			for i := range next {
				t.Run(subtest(t, i))
			}
			done <- struct{}{}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	for range workers {
		<-done
	}
}

func bootRow(t *testing.T, l *lab, r row) {
	a, err := arch.Lookup(r.Arch)
	if err != nil {
		t.Fatal(err)
	}
	g := l.guest(t, r, a)
	for try := 0; ; try++ {
		got := bootArgs(g.args, a, g.digest)
		log := keepLog(t, r.fileName(), got.console)
		if got.err == nil {
			t.Logf("reached userspace after %.1f s", got.seconds)
			if g.check != nil {
				g.check(t)
			}
			keepRecord(t, record{row: r, Seconds: got.seconds, Retries: try, Log: log})
			return
		}
		if try == retries || !emulatorBroke(got.console) {
			t.Fatalf("booting: %v; the console said:\n%s", got.err, got.console)
		}
		keepLog(t, fmt.Sprintf("%s_try-%d", r.fileName(), try+1), got.console)
		t.Logf("the guest's kernel panicked, trying again (%d of %d)", try+1, retries)
	}
}

// guest is a machine to boot.
type guest struct {
	args   []string
	digest string             // that init has to report
	check  func(t *testing.T) // what else has to be true afterwards
}

// guest prepares the boot of a row.
func (l *lab) guest(t *testing.T, r row, a arch.Arch) guest {
	t.Helper()
	switch r.Medium {
	case ipxeRelative, ipxeAbsolute:
		return l.ipxe(t, r, a)
	case uefiHTTP:
		return l.httpBoot(t, r, a)
	case uefiUKI:
		return l.httpUKI(t, r, a)
	case unpacked:
		return l.unpacked(t, r, a)
	}
	dir := filepath.Join(l.builds[r.Kernel], a.Name)
	args, err := vm.Machine{Arch: a, Dir: dir, Family: r.Family, Medium: r.Medium, Scratch: t.TempDir()}.Command()
	if err != nil {
		t.Fatal(err)
	}
	return guest{args: args, digest: readManifest(t, dir).ComposefsDigest}
}

// keepLog writes what a console said and returns the file's name.
func keepLog(t *testing.T, name, console string) string {
	t.Helper()
	name += ".log"
	if err := os.MkdirAll(logFolder(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(logFolder(), name), []byte(console), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// keepRecord appends to the records. One write of a short line is whole, also
// with several writers.
func keepRecord(t *testing.T, r record) {
	t.Helper()
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(logFolder(), recordsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}
