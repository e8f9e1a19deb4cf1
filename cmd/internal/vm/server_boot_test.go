//go:build boot

package vm_test

import (
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
	serverDefinition = "../../../fixtures/platforms/debian-13-server"
	// serverLimit is many times what a boot to the login prompt takes on an idle
	// machine.
	serverLimit = 15 * time.Minute
	// serverMemory is the guest's memory in MiB.
	serverMemory = 1024
)

// TestBootServer builds the platform debian-13-server and boots its disk on
// every architecture until all units have started; then it logs in by SSH.
func TestBootServer(t *testing.T) {
	key := newKey(t)
	output := buildPlatform(t, serverWithKey(t, key), "--variants", "raw")
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

// serverWithKey copies the platform and lets the key log in. Emulated on a busy
// host, devices take longer to show up than systemd waits for those of a real
// machine.
func serverWithKey(t *testing.T, key ssh.Signer) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "platform")
	if err := os.CopyFS(dir, os.DirFS(serverDefinition)); err != nil {
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
		{`cmdline: ["console=${console}"]`, `cmdline: ["console=${console}", systemd.default_device_timeout_sec=600]`},
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
	digest := readManifest(t, dir).ComposefsDigest
	for try := 0; ; try++ {
		console, err := tryServer(t, vm.Machine{Arch: a, Dir: dir, Family: "raw", MemoryMiB: serverMemory, Scratch: t.TempDir()}, digest, key)
		if err == nil {
			return
		}
		if try == retries || !emulatorBroke(console) {
			t.Fatalf("booting: %v; the console said:\n%s", err, console)
		}
		t.Logf("the guest's kernel panicked, trying again (%d of %d)", try+1, retries)
	}
}

func tryServer(t *testing.T, m vm.Machine, digest string, key ssh.Signer) (string, error) {
	args, err := m.Command()
	if err != nil {
		return "", err
	}
	address := freeAddress(t)
	args = append(args, "-netdev", "user,id=n0,hostfwd=tcp:"+address+"-:22",
		"-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci")

	ctx, cancel := context.WithTimeout(context.Background(), serverLimit)
	defer cancel()
	stdin, keyboard := io.Pipe()
	screen := newScreen()
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- vm.Start(ctx, args, stdin, screen, false); screen.close() }()
	err = useServer(ctx, t, m.Arch, screen, digest, address, key, start)
	cancel()
	keyboard.Close()
	<-ended
	return screen.String(), err
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

// useServer follows the console to the login prompt and checks the system from
// the inside.
func useServer(ctx context.Context, t *testing.T, a arch.Arch, screen *screen, digest, address string, key ssh.Signer, start time.Time) error {
	if err := screen.wait(ctx, "bootsmith-init: root verified composefs="+digest); err != nil {
		return err
	}
	if err := screen.wait(ctx, "debian-13-server login:"); err != nil {
		return err
	}
	t.Logf("login prompt after %.1f s", time.Since(start).Seconds())
	client, err := dial(ctx, address, ssh.PublicKeys(key))
	if err != nil {
		return err
	}
	defer client.Close()
	t.Logf("logged in by SSH after %.1f s", time.Since(start).Seconds())
	if other, err := dialOnce(address, ssh.Password("")); err == nil {
		other.Close()
		return fmt.Errorf("an empty password logs in")
	}
	var failed error
	for _, c := range serverChecks(a) {
		failed = errors.Join(failed, c.run(client))
	}
	t.Logf("checked after %.1f s", time.Since(start).Seconds())
	return failed
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
		{"cat /etc/machine-id", "[0-9a-f]{32}\n"},
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

// dial logs in, trying again until the server is there and ctx is done.
func dial(ctx context.Context, address string, auth ssh.AuthMethod) (*ssh.Client, error) {
	for {
		client, err := dialOnce(address, auth)
		if err == nil {
			return client, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("logging in by SSH: %w", err)
		case <-time.After(2 * time.Second):
		}
	}
}

func dialOnce(address string, auth ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", address, &ssh.ClientConfig{
		User: "admin", Auth: []ssh.AuthMethod{auth},
		// The machine made its key a moment ago: nobody knows it.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		Timeout:         30 * time.Second,
	})
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
