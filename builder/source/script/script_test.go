package script

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/program"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

const epoch = 1700000000

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// log collects what a script prints.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func newSource(t *testing.T, output, text string) (Source, *log) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "build-root.sh")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	var l log
	return Source{
		Path: path, Dir: dir, Output: output, Timeout: 20 * time.Second,
		Platform: "demo", Arch: arch.All()[1], SearchPath: os.Getenv("PATH"),
		Scratch: filepath.Join(t.TempDir(), "script"),
		UID:     uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Limits: source.Limits{Entries: 1000, Bytes: 1 << 20}, Log: l.add,
	}, &l
}

func run(t *testing.T, p Source) (*tree.Tree, error) {
	t.Helper()
	s := newStore(t)
	pin, err := p.Pin(context.Background(), s, epoch)
	if err != nil {
		return nil, err
	}
	got, err := p.Read(context.Background(), s, epoch, pin)
	if _, statErr := os.Stat(p.Scratch); !os.IsNotExist(statErr) {
		t.Errorf("the scratch folder stays: %v", statErr)
	}
	return got, err
}

// Both ways of handing over a root give the same.
func TestBothOutputs(t *testing.T) {
	var digests []string
	for output, text := range map[string]string{
		OutputTar: `#!/bin/sh -e
umask 022
mkdir -p "$HOME/r/etc"; echo "$ARCH" > "$HOME/r/etc/arch"; ln -s etc "$HOME/r/conf"
echo packing >&2
tar -C "$HOME/r" --owner=0 --group=0 -c . | gzip >&3
`,
		OutputRoot: `#!/bin/sh -e
umask 022
mkdir -p "$BOOTSMITH_ROOT/etc"; echo "$ARCH" > "$BOOTSMITH_ROOT/etc/arch"; ln -s etc "$BOOTSMITH_ROOT/conf"
chmod 755 "$BOOTSMITH_ROOT"
echo packing
`,
	} {
		p, l := newSource(t, output, text)
		got, err := run(t, p)
		if err != nil {
			t.Fatalf("%s: %v", output, err)
		}
		n, err := got.Lookup("etc/arch")
		if err != nil || string(n.Inode.Content.Inline) != "arm64\n" || n.Inode.Mtime != epoch || n.Inode.UID != 0 {
			t.Errorf("%s: etc/arch is %+v, %v", output, n, err)
		}
		if !slices.Equal(l.lines, []string{"packing"}) {
			t.Errorf("%s: the log is %q", output, l.lines)
		}
		digests = append(digests, source.Digest(got))
	}
	if digests[0] != digests[1] {
		t.Errorf("the roots differ: %q", digests)
	}
}

// The script sees the variables of the contract and nothing of ours.
func TestEnvironmentIsTheContracts(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("GITHUB_TOKEN", "secret")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret")
	t.Setenv("BOOTSMITH_WEBHOOK_SECRET", "secret")
	t.Setenv("BOOTSMITH_SECURE_BOOT_PIN", "secret")
	p, l := newSource(t, OutputRoot, "#!/usr/bin/env -S sh -e\nenv\npwd\nls -A \"$HOME\" \"$TMPDIR\" \"$BOOTSMITH_ROOT\" | grep -v : || true\nls /proc/self/fd | tr '\\n' ' '; touch \"$BOOTSMITH_ROOT/x\"\n")
	if _, err := run(t, p); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, line := range l.lines {
		if name, _, ok := strings.Cut(line, "="); ok && name != "_" && name != "PWD" && name != "SHLVL" && name != "OLDPWD" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	want := []string{"ARCH", "BOOTSMITH_MACHINE", "BOOTSMITH_OUTPUT", "BOOTSMITH_PLATFORM", "BOOTSMITH_ROOT", "HOME", "LANG", "PATH", "SOURCE_DATE_EPOCH", "TMPDIR", "TZ"}
	if !slices.Equal(names, want) {
		t.Errorf("variables are %q, want %q", names, want)
	}
	for _, line := range []string{"ARCH=arm64", "BOOTSMITH_MACHINE=aarch64", "SOURCE_DATE_EPOCH=1700000000", "BOOTSMITH_PLATFORM=demo", "TZ=UTC", "LANG=C.UTF-8", p.Dir} {
		if !slices.Contains(l.lines, line) {
			t.Errorf("the log lacks %q: %q", line, l.lines)
		}
	}
}

// The root has the same modes whatever the building user's umask is.
func TestUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for output, text := range map[string]string{
		OutputTar:  "#!/bin/sh -e\nmkdir -p $TMPDIR/r/etc; : > $TMPDIR/r/etc/f; tar -C $TMPDIR/r -c . >&3\n",
		OutputRoot: "#!/bin/sh -e\nmkdir $BOOTSMITH_ROOT/etc; : > $BOOTSMITH_ROOT/etc/f\n",
	} {
		p, _ := newSource(t, output, text)
		got, err := run(t, p)
		if err != nil {
			t.Fatal(err)
		}
		for path, mode := range map[string]uint32{"": 0o755, "etc": 0o755, "etc/f": 0o644} {
			if n, err := got.Lookup(path); err != nil || n.Inode.Mode&0o7777 != mode {
				t.Errorf("%s: the mode of %q is %o, %v", output, path, n.Inode.Mode, err)
			}
		}
	}
	if now := syscall.Umask(0o077); now != 0o077 {
		t.Errorf("our own umask became %o", now)
	}
}

func TestFailures(t *testing.T) {
	for name, x := range map[string]struct {
		output, text, want string
		class              fault.Class
	}{
		"status":           {OutputTar, "#!/bin/sh\necho one\necho the disk is full >&2\nexit 3\n", "exit status 3; its last line: the disk is full", fault.Build},
		"status, silent":   {OutputRoot, "#!/bin/sh\nexit 3\n", "exit status 3", fault.Build},
		"status after tar": {OutputTar, "#!/bin/sh\ntar -c /dev/null >&3 2>/dev/null\nexit 4\n", "exit status 4", fault.Build},
		"signal":           {OutputRoot, "#!/bin/sh\nkill -TERM $$\n", "signal: terminated", fault.Build},
		"nothing written":  {OutputTar, "#!/bin/sh\ntrue\n", "wrote nothing to file descriptor 3", fault.Build},
		"closed":           {OutputTar, "#!/bin/sh\nexec 3>&-\nsleep 60\n", "wrote nothing to file descriptor 3", fault.Build},
		"nothing filled":   {OutputRoot, "#!/bin/sh\ntrue\n", "left BOOTSMITH_ROOT empty", fault.Build},
		"no tar":           {OutputTar, "#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x >&3\nsleep 60\n", "tar header", fault.Build},
		"cut tar":          {OutputTar, "#!/bin/sh\ntar -c /etc/services 2>/dev/null | head -c 5000 >&3\n", "unexpected EOF", fault.Build},
		"flood":            {OutputTar, "#!/bin/sh\ntar -c /usr/share >&3 2>/dev/null\n", "exceeds", fault.Build},
		"no interpreter":   {OutputRoot, "#!/nowhere/sh\n", "its interpreter is missing", fault.Tool},
		"DOS line ends":    {OutputRoot, "#!/bin/sh\r\ntrue\r\n", "ends with a carriage return, which belongs to the interpreter's name; save it with Unix line ends", fault.Input},
		"no format":        {OutputRoot, "true\n", "begin the script with #!", fault.Input},
		"socket":           {OutputRoot, "#!/usr/bin/perl\nuse Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); chdir $ENV{BOOTSMITH_ROOT}; bind($s, sockaddr_un('s'));\n", "is a socket", fault.Build},
		"folder's flood":   {OutputRoot, "#!/bin/sh\nhead -c 2M /dev/zero > $BOOTSMITH_ROOT/zeros\n", "exceeds", fault.Build},
		"folder deleted":   {OutputRoot, "#!/bin/sh\nrmdir $BOOTSMITH_ROOT\n", "it deleted or replaced the folder BOOTSMITH_ROOT", fault.Build},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := newSource(t, x.output, x.text)
			start := time.Now()
			_, err := run(t, p)
			if err == nil || !strings.Contains(err.Error(), x.want) || fault.ClassOf(err) != x.class {
				t.Errorf("error %v (class %d) lacks %q or its class", err, fault.ClassOf(err), x.want)
			}
			if took := time.Since(start); took > 45*time.Second { // some would sleep for 60
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestPinRefuses(t *testing.T) {
	p, _ := newSource(t, OutputTar, "#!/bin/sh\n")
	pin, err := p.Pin(context.Background(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Path, []byte("#!/bin/sh\ntrue\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Read(context.Background(), newStore(t), epoch, pin); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "has changed since the plan") {
		t.Errorf("a changed script: %v", err)
	}
	if err := os.Chmod(p.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pin(context.Background(), nil, 0); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "chmod +x") {
		t.Errorf("not executable: %v", err)
	}
	for _, path := range []string{p.Dir, p.Dir + "/nowhere"} {
		p.Path = path
		if _, err := p.Pin(context.Background(), nil, 0); fault.ClassOf(err) != fault.Input {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A script that takes too long is killed with all that it started.
func TestTimeLimitKillsTheGroup(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	p, l := newSource(t, OutputTar, "#!/bin/sh\n(sleep 2; touch "+marker+") &\necho waiting\nsleep 60\n")
	p.Timeout = 500 * time.Millisecond
	start := time.Now()
	_, err := run(t, p)
	if fault.ClassOf(err) != fault.Build || !strings.Contains(err.Error(), "took longer than 500ms and was killed") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 1900*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	if !slices.Equal(l.lines, []string{"waiting"}) {
		t.Errorf("the log is %q", l.lines)
	}
	time.Sleep(2 * time.Second)
	if _, err := os.Stat(marker); !os.IsNotExist(err) {
		t.Error("a process of the group lived on")
	}
}

// What a script leaves in the background neither lives on nor holds up the
// build.
func TestLeftoversAreKilled(t *testing.T) {
	p, _ := newSource(t, OutputRoot, "#!/bin/sh\ntouch \"$BOOTSMITH_ROOT/x\"\nsleep 60 &\n")
	start := time.Now()
	if _, err := run(t, p); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// A process outside of the script's group can hold file descriptor 3 open: that
// ends neither later than the time limit allows, nor as if all were well.
func TestDaemonsDontHoldUpTheBuild(t *testing.T) {
	for name, x := range map[string]struct{ end, want string }{
		"script ends":    {"sleep 1", "a process that it left behind holds file descriptor 3 open; have it wait"},
		"script goes on": {"sleep 60", "took longer than 2s and was killed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := newSource(t, OutputTar, "#!/bin/sh\ntar -c /etc/services >&3 2>/dev/null\nsetsid sh -c 'touch $TMPDIR/up; exec sleep 45' >/dev/null 2>&1 &\nuntil [ -e $TMPDIR/up ]; do sleep 0.1; done\n"+x.end+"\n")
			p.Timeout = 2 * time.Second
			start := time.Now()
			_, err := run(t, p)
			if err == nil || !strings.Contains(err.Error(), x.want) || fault.ClassOf(err) != fault.Build {
				t.Errorf("got %v, want %q", err, x.want)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// A log without end is handed on line by line until the time limit.
func TestEndlessLog(t *testing.T) {
	p, _ := newSource(t, OutputTar, "#!/bin/sh\nexec yes\n")
	lines := 0
	p.Log, p.Timeout = func(string) { lines++ }, time.Second
	if _, err := run(t, p); err == nil || !strings.Contains(err.Error(), "took longer than 1s and was killed") || lines == 0 {
		t.Errorf("%d lines, %v", lines, err)
	}
}

func TestInterrupt(t *testing.T) {
	p, _ := newSource(t, OutputTar, "#!/bin/sh\nsleep 60\n")
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	pin, err := p.Pin(ctx, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := p.Read(ctx, newStore(t), epoch, pin); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
}

// Long lines are cut, bytes that are no text are replaced, and read-only
// folders are cleared away.
func TestOddScripts(t *testing.T) {
	p, l := newSource(t, OutputRoot, "#!/bin/sh\nhead -c 10000 /dev/zero | tr '\\0' x\necho\nprintf 'a\\377b\\n'\nprintf end\nmkdir -p \"$BOOTSMITH_ROOT/ro/d\"\nchmod 555 \"$BOOTSMITH_ROOT/ro\"\n")
	got, err := run(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := got.Lookup("ro"); err != nil || n.Inode.Mode != tree.TypeDir|0o555 {
		t.Errorf("ro is %+v, %v", n, err)
	}
	if len(l.lines) != 3 || len(l.lines[0]) != program.MaxLine || l.lines[1] != "a�b" || l.lines[2] != "end" {
		t.Errorf("the log has %d lines: %.60q", len(l.lines), l.lines)
	}
}
