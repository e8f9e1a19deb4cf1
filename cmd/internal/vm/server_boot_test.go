//go:build boot

package vm_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

const (
	serverDefinition = "../../../fixtures/platforms/" + serverPlatform
	// serverLimit is many times what a boot, the checks and a reboot take on an
	// idle machine.
	serverLimit = 40 * time.Minute
	// loginLimit is for a handshake: a guest that is starting takes connections
	// and doesn't answer.
	loginLimit = 2 * time.Minute
	// serverMemory is the guest's memory in MiB.
	serverMemory = 1024
)

// TestBootServer builds the platform debian-13-server and boots its disk on
// every architecture until all units have started; then it logs in by SSH, has
// it reboot, and looks for what was there before.
func TestBootServer(t *testing.T) {
	key := newKey(t)
	output := buildPlatform(t, serverWithKey(t, serverDefinition, key), "--variants", "raw")
	all := arch.All()
	inParallel(t, machines, len(all), func(t *testing.T, i int) (string, func(*testing.T)) {
		return all[i].Name, func(t *testing.T) { bootServer(t, all[i], filepath.Join(output, all[i].Name), key) }
	})
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// patience is for systemd. Emulated on a busy host, devices take longer to show
// up and services to start than it waits for those of a real machine, and to
// its watchdogs they look dead.
const patience = "systemd.default_device_timeout_sec=1200 systemd.default_timeout_start_sec=1200 systemd.service_watchdogs=0"

// serverWithKey copies a platform, lets the key log in and adds patience.
func serverWithKey(t *testing.T, definition string, key ssh.Signer) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "platform")
	if err := os.CopyFS(dir, os.DirFS(definition)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "platform.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	changed := string(text)
	for _, x := range []struct{ old, new string }{
		{"authorized_keys: []", fmt.Sprintf("authorized_keys: [%q]", public)},
		{`cmdline: ["console=${console}"]`, `cmdline: ["console=${console}", ` + strings.ReplaceAll(patience, " ", ", ") + "]"},
	} {
		if !strings.Contains(changed, x.old) {
			t.Fatalf("the definition lacks %q", x.old)
		}
		changed = strings.Replace(changed, x.old, x.new, 1)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func bootServer(t *testing.T, a arch.Arch, dir string, key ssh.Signer) {
	r := serverRow(a)
	s := server{Arch: a, digest: readManifest(t, dir).ComposefsDigest, key: key, disk: filepath.Join(t.TempDir(), "disk.img")}
	for try := 0; ; try++ {
		copyFile(t, filepath.Join(dir, "raw", serverPlatform+"-"+a.Name+".img"), s.disk)
		first, last, err := s.bootTwice(t)
		log := keepLog(t, r.fileName(), first.console)
		keepLog(t, r.fileName()+"_again", last.console)
		if err == nil {
			t.Logf("reached multi-user.target after %.1f s", first.seconds)
			keepRecord(t, record{row: r, Seconds: first.seconds, Retries: try, Log: log})
			return
		}
		if try == retries || !emulatorBroke(last.console) {
			t.Fatalf("booting: %v; the console said:\n%s", err, last.console)
		}
		t.Logf("the guest's kernel panicked, trying again (%d of %d)", try+1, retries)
	}
}

// server is a machine with a disk that keeps what is written to it.
type server struct {
	arch.Arch
	disk, digest string
	key          ssh.Signer
}

// bootTwice returns what came of the first boot and of the last one that there
// was.
func (s server) bootTwice(t *testing.T) (first, last visit, err error) {
	t.Helper()
	first, err = s.session(t, serverChecks(s.Arch))
	if err != nil {
		return first, first, err
	}
	last, err = s.session(t, keptChecks())
	if err == nil && !bytes.Equal(first.hostKey, last.hostKey) {
		err = fmt.Errorf("the machine has another SSH host key after a reboot")
	}
	return first, last, err
}

// visit is what came of a boot.
type visit struct {
	console string
	hostKey []byte
	seconds float64 // from the machine's start to multi-user.target
}

// session boots, makes the checks and has the machine reboot, which ends it.
func (s server) session(t *testing.T, checks []check) (visit, error) {
	t.Helper()
	address := freeAddress(t)
	args := append(vm.Base(s.Arch, serverMemory), vm.Firmware(s.Arch, "")...)
	args = append(append(args, driveArgs(s.disk)...), "-netdev", "user,id=n0,hostfwd=tcp:"+address+"-:22",
		"-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci")

	ctx, cancel := context.WithTimeout(context.Background(), serverLimit)
	defer cancel()
	stdin, keyboard := io.Pipe()
	screen := newScreen()
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- vm.Start(ctx, args, stdin, screen, false); screen.close() }()
	v, err := s.use(ctx, t, screen, address, checks, start)
	cancel()
	keyboard.Close()
	<-ended
	v.console = screen.String()
	return v, err
}

// freeAddress returns an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// use follows the console to the login prompt, checks the system from the inside
// and reboots it.
func (s server) use(ctx context.Context, t *testing.T, screen *screen, address string, checks []check, start time.Time) (v visit, err error) {
	t.Helper()
	for _, line := range []string{"bootsmith-init: root verified composefs=" + s.digest, "/etc and /var are kept on vda3", serverPlatform + " login:"} {
		if err := screen.wait(ctx, line); err != nil {
			return v, err
		}
	}
	t.Logf("login prompt after %.1f s", time.Since(start).Seconds())
	client, hostKey, err := dial(ctx, address, ssh.PublicKeys(s.key))
	if err != nil {
		return v, err
	}
	defer client.Close()
	defer context.AfterFunc(ctx, func() { client.Close() })()
	v.hostKey = hostKey
	t.Logf("logged in by SSH after %.1f s", time.Since(start).Seconds())
	if other, _, err := dialOnce(ctx, address, ssh.Password("")); err == nil {
		other.Close()
		return v, fmt.Errorf("an empty password logs in")
	} else if !strings.Contains(err.Error(), "unable to authenticate") {
		return v, fmt.Errorf("logging in by an empty password: %w", err)
	}
	var failed error
	for _, c := range checks {
		failed = errors.Join(failed, c.run(client))
	}
	t.Logf("checked after %.1f s", time.Since(start).Seconds())
	if failed != nil {
		return v, failed
	}
	if v.seconds, err = multiUser(client, start); err != nil {
		return v, err
	}
	// The connection may end before the command does.
	_, _ = command(client, "sudo -n systemctl reboot")
	return v, screen.wait(ctx, "reboot: Restarting system")
}

// multiUser returns the seconds from the machine's start to multi-user.target. The
// guest's clock runs as the host's does, and began when its kernel started.
func multiUser(client *ssh.Client, start time.Time) (float64, error) {
	out, err := command(client, "systemctl show -P ActiveEnterTimestampMonotonic multi-user.target; cat /proc/uptime")
	elapsed := time.Since(start).Seconds()
	if err != nil {
		return 0, err
	}
	var reached, up float64 // microseconds, seconds
	if _, err := fmt.Sscan(out, &reached, &up); err != nil || reached == 0 || reached/1e6 > up {
		return 0, fmt.Errorf("the machine says of multi-user.target and its uptime %q (%v)", out, err)
	}
	return elapsed - up + reached/1e6, nil
}

// check is a command and a pattern of all that it prints.
type check struct{ typed, want string }

func (c check) run(client *ssh.Client) error {
	got, err := command(client, c.typed)
	if err != nil {
		return fmt.Errorf("running %q: %w", c.typed, err)
	}
	if !regexp.MustCompile(`\A(?:` + c.want + `)\z`).MatchString(got) {
		return fmt.Errorf("running %q: got %q, want %q", c.typed, got, c.want)
	}
	return nil
}

func serverChecks(a arch.Arch) []check {
	return []check{
		{"systemctl is-system-running --wait", "running\n"},
		{"systemctl list-units --failed --no-legend --plain", ""},
		{"systemctl is-active multi-user.target systemd-networkd systemd-resolved dbus ssh", "(active\n){5}"},
		{"uname -m; hostname", a.Machine + "\ndebian-13-server\n"},
		{"id -un; id -Gn", "admin\nadmin adm systemd-journal\n"},
		// The root is read-only, even for root; /etc, /var and homes aren't.
		{"findmnt -n -o FSTYPE,OPTIONS / | grep -c '^overlay *ro,'", "1\n"},
		{"LC_ALL=C sudo -n touch /usr/x 2>&1", ".*Read-only file system\n"},
		{"sudo -n sh -c 'id -u; echo x > /etc/x && echo x > /var/x && cat /etc/x /var/x'", "0\nx\nx\n"},
		{"echo x > x && cat x", "x\n"},
		{"tee id < /etc/machine-id", "[0-9a-f]{32}\n"},
		// What finishing made works: modules, libraries, certificates, accounts.
		{"sudo -n modprobe dummy && lsmod | grep -c '^dummy '", "1\n"},
		{"/usr/sbin/modinfo -F description dm_verity", ".*integrity.*\n"},
		{"/usr/sbin/ldconfig -p | grep -c '^\tlibc\\.so\\.6 '", "1\n"},
		{"openssl storeutl -noout -certs /etc/ssl/certs/ca-certificates.crt | tail -n 1", "Total found: [0-9]{2,}\n"},
		{"echo 1 | awk '{print $1 + 1}'", "2\n"},
		{"sudo -n pwck -q -r && sudo -n grpck -r", ""},
		{"getent passwd systemd-network | cut -d: -f5", "systemd Network Management\n"},
		{"resolvectl dns | grep -c 10.0.2.3", "1\n"},
		{"locale 2>/dev/null | head -n 1", "LANG=C.UTF-8\n"},
	}
}

// keptChecks are made after a reboot.
func keptChecks() []check {
	return []check{
		{"systemctl is-system-running --wait", "running\n"},
		{"cat /etc/x /var/x x", "x\nx\nx\n"},
		{"cmp /etc/machine-id id", ""},
		{"findmnt -n -o SOURCE,FSTYPE /run/bootsmith/persist", "/dev/vda3 +ext4\n"},
		// The first boot had unmounted it: there was nothing to recover.
		{"sudo -n dmesg | grep -c 'EXT4-fs.*recovery'", "0\n"},
		{"findmnt -n -o FSTYPE,OPTIONS / | grep -c '^overlay *ro,'", "1\n"},
	}
}

// dial logs in, trying again until the server is there and ctx is done. It
// returns the server's host key, too.
func dial(ctx context.Context, address string, auth ssh.AuthMethod) (*ssh.Client, []byte, error) {
	for {
		client, key, err := dialOnce(ctx, address, auth)
		if err == nil {
			return client, key, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("logging in by SSH: %w (%w)", err, ctx.Err())
		case <-time.After(2 * time.Second):
		}
	}
}

func dialOnce(ctx context.Context, address string, auth ssh.AuthMethod) (*ssh.Client, []byte, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	var hostKey []byte
	conn.SetDeadline(time.Now().Add(loginLimit))
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "admin", Auth: []ssh.AuthMethod{auth},
		// The machine made its key a moment ago: nobody knows it.
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error { hostKey = key.Marshal(); return nil },
	})
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, channels, requests), hostKey, nil
}

// command returns what a command prints to standard output.
func command(client *ssh.Client, line string) (string, error) {
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	var stderr strings.Builder
	session.Stderr = &stderr
	out, err := session.Output(line)
	if _, failed := err.(*ssh.ExitError); failed && stderr.Len() == 0 {
		err = nil // the output says it
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	return string(out), nil
}
