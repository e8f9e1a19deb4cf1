package localstack_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/powernode/bootsmith/publish/localstack"
)

// childDir names the state directory of a stack in a process of its own.
const childDir = "LOCALSTACK_TEST_CHILD_DIR"

// TestChild is not a test of its own: TestKill runs it in another process.
func TestChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	s, err := localstack.Start(t.Context(), localstack.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nregistry %s\n", s.Registry)
	select {}
}

// spawn starts a stack in a process that can be killed.
func spawn(t *testing.T, dir string) (cmd *exec.Cmd, registry string) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if registry, ok := strings.CutPrefix(lines.Text(), "registry "); ok {
			return cmd, registry
		}
	}
	t.Fatal("the child did not start")
	return nil, ""
}

// TestKill kills the process while clients push, at other moments each round:
// what was acknowledged must be there afterwards, and the stack must work.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var pushed []ocispec.Descriptor
	var trusted string
	for round, life := range []time.Duration{150 * time.Millisecond, 310 * time.Millisecond, 470 * time.Millisecond} {
		cmd, registry := spawn(t, dir)
		time.AfterFunc(life, func() { cmd.Process.Kill() })
		pushed = append(pushed, pushUntilGone(registry, round)...)
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}

		s, err := localstack.Start(t.Context(), localstack.Config{Dir: dir})
		if err != nil {
			t.Fatalf("round %d: starting after the kill: %v", round, err)
		}
		if now := read(t, s.TrustedRootPath); trusted != "" && now != trusted {
			t.Error("the trusted root changed")
		} else {
			trusted = now
		}
		repo := open(t, s)
		for _, d := range pushed {
			if _, err := repo.Resolve(t.Context(), d.Digest.String()); err != nil {
				t.Errorf("round %d: an acknowledged manifest is lost: %v", round, err)
			}
		}
		token, err := s.IssueToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := signWith(t, s, token, []byte("x"))
		if err != nil {
			t.Fatalf("round %d: signing after the kill: %v", round, err)
		}
		if err := check(t, s.TrustedRootPath, b, []byte("x"), s.Issuer, s.Identity); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(pushed) == 0 {
		t.Error("nothing was pushed")
	}
}

// pushUntilGone returns the manifests that the registry acknowledged.
func pushUntilGone(registry string, round int) (done []ocispec.Descriptor) {
	repo, err := remote.NewRepository(registry + "/acme/minimal")
	if err != nil {
		return nil
	}
	repo.PlainHTTP = true
	for i := 0; ; i++ {
		layer, err := oras.PushBytes(context.Background(), repo, "application/octet-stream", fmt.Appendf(nil, "%d/%d", round, i))
		if err != nil {
			return done
		}
		opts := oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}}
		if len(done) > 0 {
			opts.Subject = &done[0]
		}
		d, err := oras.PackManifest(context.Background(), repo, oras.PackManifestVersion1_1, imageType, opts)
		if err != nil {
			return done
		}
		done = append(done, d)
	}
}
