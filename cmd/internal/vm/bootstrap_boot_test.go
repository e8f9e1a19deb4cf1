//go:build boot

package vm_test

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
)

const bootstrapDefinition = "../../../fixtures/platforms/debian-13-bootstrap"

// bootstrapVariable lists the architectures whose root is bootstrapped, separated
// by spaces.
const bootstrapVariable = "BOOTSMITH_BOOTSTRAP_ARCH"

// TestBootBootstrapped builds the platform debian-13-bootstrap under its twin's
// name and puts it to the same test: what maintainer scripts make boots, too.
// Without bootstrapVariable it does so for amd64 only: in an emulator, the scripts
// of another architecture take a quarter of an hour.
func TestBootBootstrapped(t *testing.T) {
	for _, name := range strings.Fields(cmp.Or(os.Getenv(bootstrapVariable), "amd64")) {
		t.Run(name, func(t *testing.T) {
			a, err := arch.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			bootBootstrapped(t, a)
		})
	}
}

func bootBootstrapped(t *testing.T, a arch.Arch) {
	key := newKey(t)
	definition := serverWithKey(t, bootstrapDefinition, key)
	path := filepath.Join(definition, "platform.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	renamed := strings.Replace(string(text), "name: debian-13-bootstrap\n", "name: "+serverPlatform+"\n", 1)
	if renamed == string(text) {
		t.Fatal("the definition has another name")
	}
	if err := os.WriteFile(path, []byte(renamed), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(buildPlatform(t, definition, "--variants", "raw", "--arch", a.Name), a.Name)
	s := server{Arch: a, digest: readManifest(t, dir).ComposefsDigest, key: key, disk: filepath.Join(t.TempDir(), "disk.img")}
	for try := 0; ; try++ {
		copyFile(t, filepath.Join(dir, "raw", serverPlatform+"-"+a.Name+".img"), s.disk)
		first, last, err := s.bootTwice(t)
		if err == nil {
			t.Logf("reached multi-user.target after %.1f s", first.seconds)
			return
		}
		if try == retries || !emulatorBroke(last.console) {
			t.Fatalf("booting: %v; the console said:\n%s", err, last.console)
		}
		t.Logf("the guest's kernel panicked, trying again (%d of %d)", try+1, retries)
	}
}
