//go:build registries

package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// TestRegistries does with real registries all that is done with one: publishes
// a real build, publishes it again, verifies it, has it read by other programs,
// goes on after faults, and deletes.
func TestRegistries(t *testing.T) {
	for _, x := range []struct {
		name  string
		start func(*testing.T) *server
	}{
		{"ours", startOurs},
		{"ocimem", startOCIMem},
		{"distribution 2.8", startDistribution2},
		{"distribution 3", startDistribution3},
		{"gitea", func(t *testing.T) *server { return startGitea(t, "-1") }},
	} {
		t.Run(x.name, func(t *testing.T) {
			stack, r := startStack(t, localstack.Config{}), x.start(t)
			t.Run("publish", func(t *testing.T) { testRealBuild(t, stack, r) })
			t.Run("resume", func(t *testing.T) { testResume(t, stack, r) })
			t.Run("faults", func(t *testing.T) { testFaults(t, stack, r) })
			t.Run("mount", func(t *testing.T) { testMount(t, stack, r) })
			t.Run("retention", func(t *testing.T) { testRetention(t, stack, r) })
		})
	}
}

// TestOneFileChange publishes a real build and then the same with one file of the
// root changed, and counts the bytes that the second sends, by family. All
// families but oci are whole files as layers, and whole files are sent.
func TestOneFileChange(t *testing.T) {
	stack := startStack(t, localstack.Config{})
	r := &server{host: stack.Registry, owner: "acme"}
	o, _ := optionsFor(t, stack, r, "changes")
	publishBuild(t, filepath.Join(stateFolder(t), "build"), o)
	o, way := optionsFor(t, stack, r, "changes")
	var mu sync.Mutex
	sent, all := map[string]int64{}, map[string]int64{}
	o.Progress = func(e publish.Event) {
		mu.Lock()
		defer mu.Unlock()
		parts := strings.SplitN(e.Name, "/", 3)
		if len(parts) < 3 || e.Total == 0 || e.Kind == publish.Pushing {
			return
		}
		all[parts[1]] += e.Total
		if e.Kind == publish.Pushed {
			sent[parts[1]] += e.Total
		}
	}
	verifyAll(t, stack, r, publishBuild(t, filepath.Join(stateFolder(t), "changed"), o))
	var files int64
	for _, family := range allFamilies() {
		t.Logf("%-14s %10d of %10d bytes", family, sent[family], all[family])
		files += sent[family]
	}
	t.Logf("%d bytes of signatures and statements", way.blobBytes-files)
	if sent["oci"] > all["oci"]/50 || sent["oci"] == 0 {
		t.Errorf("the images sent %d of %d bytes", sent["oci"], all["oci"])
	}
	if sent["kernel-initrd"] > all["kernel-initrd"]*3/4 {
		t.Errorf("kernel and initramfs were sent again: %d of %d bytes", sent["kernel-initrd"], all["kernel-initrd"])
	}
}

// optionsFor publishes to a repository of a registry, signing by a stack.
func optionsFor(t *testing.T, stack *localstack.Stack, r *server, repository string) (publish.Options, *spy) {
	o := options(t, stack)
	o.Repository = r.host + "/" + r.owner + "/" + repository
	o.Access = r.access()
	way := &spy{}
	o.Access.Transport = way
	return o, way
}

func testRealBuild(t *testing.T, stack *localstack.Stack, r *server) {
	dir := filepath.Join(stateFolder(t), "build")
	o, way := optionsFor(t, stack, r, "disk-images")
	o.Cosign2 = true
	began := time.Now()
	pubs := publishBuild(t, dir, o)
	t.Logf("%d artifacts published in %v: %d MB of blobs", len(pubs.Publications), time.Since(began).Round(time.Millisecond), way.blobBytes>>20)
	if len(pubs.Publications) != 12 || way.blobBytes == 0 {
		t.Fatalf("%d artifacts, %d bytes", len(pubs.Publications), way.blobBytes)
	}
	o, way = optionsFor(t, stack, r, "disk-images")
	o.Cosign2 = true
	began = time.Now()
	again := publishBuild(t, dir, o)
	t.Logf("published again in %v", time.Since(began).Round(time.Millisecond))
	if len(way.puts) != 0 || again.Index != pubs.Index {
		t.Errorf("publishing again sent %q and made the index %v", way.puts, again.Index)
	}
	began = time.Now()
	verifyAll(t, stack, r, pubs)
	t.Logf("verified in %v", time.Since(began).Round(time.Millisecond))
	look, err := publish.LookAt(t.Context(), r.access(), pubs.Repository+":"+pubs.Index.Tag)
	if err != nil || len(look.Entries) != 12 || len(look.Referrers) != 1 {
		t.Errorf("looking at the index: %+v, %v", look, err)
	}
	readByOthers(t, stack, r, pubs)
}

// verifyAll verifies all artifacts of a build and reads their layers.
func verifyAll(t *testing.T, stack *localstack.Stack, r *server, pubs *publish.Publications) {
	t.Helper()
	for _, p := range pubs.Publications {
		got, err := publish.Verify(t.Context(), r.access(), p.OCIRef, policy(stack))
		if err == nil {
			err = publish.CheckLayers(t.Context(), r.access(), p.OCIRef, got.Layers, 0)
		}
		if err != nil {
			t.Errorf("%s %s: %v", p.Arch, p.Family, err)
		}
	}
	p := policy(stack)
	p.RequirePredicates = nil
	if _, err := publish.Verify(t.Context(), r.access(), pubs.Repository+":"+pubs.Index.Tag, p); err != nil {
		t.Errorf("the index: %v", err)
	}
}

// readByOthers has a disk image pulled and its signatures found by oras, an
// image copied by skopeo, and signatures verified by cosign.
func readByOthers(t *testing.T, stack *localstack.Stack, r *server, pubs *publish.Publications) {
	t.Helper()
	dir := t.TempDir()
	env := append(writeRoots(t, stack), "HOME="+dir, "TUF_ROOT="+filepath.Join(dir, "tuf"))
	if r.config != "" {
		env = append(env, "DOCKER_CONFIG="+filepath.Dir(r.config), "REGISTRY_AUTH_FILE="+r.config)
	}
	oras, cosign := client(t, "oras"), client(t, "cosign")
	call := func(what string, out string, err error) string {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return out
	}
	raw := find(t, pubs, "raw")
	out, err := oras.Run(t.Context(), dir, env, "pull", "--plain-http", raw.OCIRef)
	call("oras pull", out, err)
	data, err := os.ReadFile(filepath.Join(dir, "minimal-amd64.img"))
	if err != nil || hexSum(data) != raw.SHA256 {
		t.Errorf("the pulled image: %v", err)
	}
	out, err = oras.Run(t.Context(), dir, env, "discover", "--plain-http", raw.OCIRef)
	if found := strings.Count(call("oras discover", out, err), "sha256:"); found < 5 {
		t.Errorf("oras discovers\n%s", out)
	}
	who := []string{"--certificate-identity-regexp", `^` + regexp.QuoteMeta(stack.Identity) + `$`, "--certificate-oidc-issuer-regexp", `^` + regexp.QuoteMeta(stack.Issuer) + `$`}
	out, err = cosign.Run(t.Context(), dir, env, append(append([]string{"verify", "--use-signed-timestamps", "--insecure-ignore-tlog"}, who...), raw.OCIRef)...)
	call("cosign verify", out, err)
	for _, args := range [][]string{
		{"inspect", "--tls-verify=false", "docker://" + find(t, pubs, "oci").OCIRef},
		{"copy", "--src-tls-verify=false", "docker://" + find(t, pubs, "oci").OCIRef, "oci:" + filepath.Join(dir, "copy") + ":it"},
		{"copy", "--src-tls-verify=false", "--override-arch=arm64", "docker://" + pubs.Repository + ":" + pubs.Index.Tag, "oci:" + filepath.Join(dir, "index") + ":it"},
	} {
		cmd := exec.CommandContext(t.Context(), "skopeo", args...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("skopeo %q: %v: %s", args, err, out)
		}
	}
}

// testResume stops a publish between two pieces and in the middle of one, and lets
// another one go on.
func testResume(t *testing.T, stack *localstack.Stack, r *server) {
	const size, chunk = 40000, 4096 // bytes
	for i, cut := range []bool{false, true} {
		dir, repository := fillISO(t, writeBuild(t, []string{"amd64"}, "iso"), bytes.Repeat([]byte{byte(i)}, size)), fmt.Sprintf("stopped-%v", cut)
		o, way := optionsFor(t, stack, r, repository)
		o.ChunkSize = chunk
		ctx, cancel := context.WithCancel(t.Context())
		var patches atomic.Int64
		way.before = func(req *http.Request) *http.Response {
			if req.Method != http.MethodPatch || patches.Add(1) < 5 {
				return nil
			}
			if cut {
				req.Body = &halfBody{req.Body, req.ContentLength / 2, cancel}
				return nil
			}
			cancel()
			return answer(http.StatusServiceUnavailable, "") // it was never sent
		}
		if _, err := publish.Publish(ctx, publish.Build{Dir: dir}, o); err == nil || ctx.Err() == nil {
			t.Fatalf("error %v, want a publish that was stopped", err)
		}
		cancel()
		o, way = optionsFor(t, stack, r, repository)
		o.ChunkSize = chunk
		// Bundles are blobs, too: only what is sent in pieces is counted.
		var pieces atomic.Int64
		way.before = func(req *http.Request) *http.Response {
			if req.Method == http.MethodPatch {
				pieces.Add(req.ContentLength)
			}
			return nil
		}
		pubs := publishBuild(t, dir, o)
		verifyAll(t, stack, r, pubs)
		t.Logf("stopped at piece 5 of 10 (in its middle: %v): %d of %d bytes sent then", cut, pieces.Load(), size)
		// A piece may be sent in vain: the registry may still be at the last one.
		if want := int64(size - 3*chunk); pieces.Load() > want && !(r.forgets && cut) {
			t.Errorf("%d bytes were sent after the interruption, want %d at most", pieces.Load(), want)
		}
	}
}

// fillISO gives a build an ISO of other bytes.
func fillISO(t *testing.T, dir string, data []byte) string {
	t.Helper()
	m, err := manifest.Read(filepath.Join(dir, "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	m.Artifacts[m.Families[0].Main] = manifest.File{SHA256: hexSum(data), SizeBytes: int64(len(data))}
	writeTestFile(t, filepath.Join(dir, "amd64", m.Families[0].Main), data)
	writeManifest(t, dir, m)
	return dir
}

func writeManifest(t *testing.T, dir string, m *manifest.Manifest) {
	t.Helper()
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(dir, "amd64", manifest.FileName), raw)
}

// halfBody lets through a part of a body.
type halfBody struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	left int64
	stop func()
}

func (h *halfBody) Read(p []byte) (int, error) {
	if h.left == 0 {
		time.Sleep(50 * time.Millisecond) // until it has been sent
		h.stop()
		return 0, context.Canceled
	}
	n, err := h.body.Read(p[:min(int64(len(p)), h.left)])
	h.left -= int64(n)
	return n, err
}

func (h *halfBody) Close() error { return h.body.Close() }

// testFaults publishes over a bad network.
func testFaults(t *testing.T, stack *localstack.Stack, r *server) {
	const runs = 8
	failed := 0
	for seed := range uint64(runs) {
		dir := writeBuild(t, []string{"amd64"}, "iso", "raw", "oci")
		o, _ := optionsFor(t, stack, r, fmt.Sprintf("faults-%d", seed))
		o.ChunkSize, o.Access.Wait = 8<<10, time.Millisecond
		o.Access.Transport = publish.NewFaulty(seed, 0.02+0.03*float64(seed))
		if _, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, o); err != nil {
			failed++
			if fault.ClassOf(err) != fault.Remote {
				t.Errorf("seed %d: error %v of class %d", seed, err, fault.ClassOf(err))
			}
		}
		o.Access.Transport = nil
		verifyAll(t, stack, r, publishBuild(t, dir, o))
		if left, err := os.ReadDir(filepath.Join(dir, ".uploads")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("seed %d: left %v, %v", seed, left, err)
		}
	}
	t.Logf("%d of %d publishes failed at first", failed, runs)
}

// testMount publishes to a second repository without sending what the first has.
func testMount(t *testing.T, stack *localstack.Stack, r *server) {
	dir := writeBuild(t, []string{"amd64"}, "iso", "oci")
	o, _ := optionsFor(t, stack, r, "first")
	publishBuild(t, dir, o)
	o, way := optionsFor(t, stack, r, "second")
	o.MountFrom = r.owner + "/first/debian-13-server"
	mounted := map[string]bool{}
	events := make(chan publish.Event, 1000)
	o.Progress = func(e publish.Event) { events <- e }
	verifyAll(t, stack, r, publishBuild(t, dir, o))
	close(events)
	for e := range events {
		if e.Kind == publish.Mounted {
			mounted[e.Name] = true
		}
		if e.Kind == publish.Pushed && e.Total > 0 {
			t.Errorf("%s was sent", e.Name)
		}
	}
	t.Logf("mounted %d blobs; %d bytes were sent: signatures", len(mounted), way.blobBytes)
	if len(mounted) != 3 && !r.shares {
		t.Errorf("mounted %v", mounted)
	}
}

// revise makes a build of another commit with the same files.
func revise(t *testing.T, dir, sha string) string {
	t.Helper()
	m, err := manifest.Read(filepath.Join(dir, "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	m.GitSHA = sha
	writeManifest(t, dir, m)
	return dir
}

// testRetention deletes one of two builds that share all files and the image.
func testRetention(t *testing.T, stack *localstack.Stack, r *server) {
	o, _ := optionsFor(t, stack, r, "kept")
	old := publishBuild(t, writeBuild(t, []string{"amd64"}, "iso", "raw", "oci"), o)
	o.Signer = newSigner(t, stack, nil)
	kept := publishBuild(t, revise(t, writeBuild(t, []string{"amd64"}, "iso", "raw", "oci"), strings.Repeat("b", 40)), o)
	if find(t, old, "oci").OCIDigest != find(t, kept, "oci").OCIDigest {
		t.Fatal("the images differ")
	}
	for range 2 {
		for _, p := range old.Publications {
			if _, err := publish.Delete(t.Context(), r.access(), p.OCIRef, p.Tag); err != nil {
				t.Fatal(err)
			}
		}
		r.collect(t)
		verifyAll(t, stack, r, kept)
	}
	for _, p := range old.Publications {
		gone := []string{old.Repository + ":" + p.Tag, old.Repository + ":" + old.Index.Tag}
		if p.Family != "oci" {
			gone = append(gone, p.OCIRef, strings.TrimPrefix(p.SBOMURL, "oci://"), old.Repository+":"+strings.Replace(p.OCIDigest, ":", "-", 1))
		}
		for _, ref := range gone {
			if d, err := publish.Resolve(t.Context(), r.access(), ref); err == nil {
				t.Errorf("%s is still there: %s", ref, d)
			}
		}
	}
}

// TestGiteaRefusals: a size limit, a wrong password and none.
func TestGiteaRefusals(t *testing.T) {
	stack, r := startStack(t, localstack.Config{}), startGitea(t, "30 KB")
	dir := writeBuild(t, []string{"amd64"}, "iso")
	for want, access := range map[string]publish.Access{
		"LIMIT_SIZE_CONTAINER":     {Login: r.login},
		"log in to the registry":   {Login: &publish.Login{Host: r.host, Username: "acme", Password: "wrong"}},
		"--registry-password-file": {},
	} {
		for _, chunk := range []int64{0, 4096} {
			o, _ := optionsFor(t, stack, r, "refused")
			o.Access, o.ChunkSize = access, chunk
			_, err := publish.Publish(t.Context(), publish.Build{Dir: dir}, o)
			if fault.ClassOf(err) != fault.Remote || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
			t.Log(err)
		}
	}
}
