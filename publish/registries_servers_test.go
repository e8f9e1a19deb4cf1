//go:build registries

package publish_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// server is a registry under test.
type server struct {
	host  string // host:port
	owner string // the first part of repositories' names
	// config is a Docker config.json with the account, if there is one.
	config string
	login  *publish.Login
	// collect removes what no manifest mentions any more.
	collect func(t *testing.T)
	// lists tells whether there is a referrers API.
	lists bool
	// shares tells that a blob in one repository is in all.
	shares bool
	// forgets tells that the registry spoils an upload when a piece is cut.
	forgets bool
}

func (s *server) access() publish.Access { return publish.Access{DockerConfig: s.config} }

// stateFolder is where `make registries` puts the programs and the build.
func stateFolder(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("BOOTSMITH_REGISTRIES")
	if dir == "" {
		t.Fatal("BOOTSMITH_REGISTRIES is not set: run make registries")
	}
	return dir
}

// startOurs is the registry of the local stack.
func startOurs(t *testing.T) *server {
	s := startStack(t, localstack.Config{})
	return &server{host: s.Registry, owner: "acme", lists: true, shares: true, collect: func(*testing.T) {}}
}

// startOCIMem is another maker's registry with the referrers API, in memory.
func startOCIMem(t *testing.T) *server {
	s := httptest.NewServer(ociserver.New(ocimem.New(), nil))
	t.Cleanup(s.Close)
	return &server{host: strings.TrimPrefix(s.URL, "http://"), owner: "acme", lists: true, collect: func(*testing.T) {}}
}

// startDistribution2 is Debian's docker-registry 2.8, unpacked and not installed.
func startDistribution2(t *testing.T) *server {
	tool := client(t, "docker-registry")
	s := startDistribution(t, tool.Command)
	s.forgets = true
	return s
}

// startDistribution3 is distribution 3, built from its module.
func startDistribution3(t *testing.T) *server {
	program := filepath.Join(stateFolder(t), "distribution")
	return startDistribution(t, func(ctx context.Context, args ...string) *exec.Cmd { return exec.CommandContext(ctx, program, args...) })
}

func startDistribution(t *testing.T, command func(context.Context, ...string) *exec.Cmd) *server {
	t.Helper()
	dir, host := t.TempDir(), freePort(t)
	config := filepath.Join(dir, "config.yml")
	writeTestFile(t, config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: %s, secret: something}
`, filepath.Join(dir, "storage"), host))
	run(t, command(context.Background(), "serve", config), dir)
	waitFor(t, "http://"+host+"/v2/")
	return &server{host: host, owner: "acme", collect: func(t *testing.T) {
		if out, err := command(t.Context(), "garbage-collect", config).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}}
}

// startGitea is Gitea 1.26, built from its module without its web pages. Sizes
// above limit bytes are refused.
func startGitea(t *testing.T, limit string) *server {
	t.Helper()
	state, dir, host := stateFolder(t), openTempDir(t), freePort(t)
	program := filepath.Join(dir, "gitea")
	copyProgram(t, program, filepath.Join(state, "gitea/gitea"))
	if err := os.CopyFS(filepath.Join(dir, "static"), os.DirFS(filepath.Join(state, "gitea/static"))); err != nil {
		t.Fatal(err)
	}
	as := unprivileged(t)
	config := filepath.Join(dir, "app.ini")
	writeTestFile(t, config, fmt.Appendf(nil, `RUN_USER = %[1]s
WORK_PATH = %[2]s
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[3]s
ROOT_URL = http://%[4]s/
STATIC_ROOT_PATH = %[2]s/static
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = %[2]s/gitea.db
SQLITE_JOURNAL_MODE = WAL
[security]
INSTALL_LOCK = true
SECRET_KEY = secret
[oauth2]
ENABLED = false
[repository]
ROOT = %[2]s/repositories
[packages]
ENABLED = true
LIMIT_SIZE_CONTAINER = %[5]s
[log]
LEVEL = Error
[cron.cleanup_packages]
ENABLED = true
RUN_AT_START = false
SCHEDULE = @yearly
OLDER_THAN = 0s
[cron.update_checker]
ENABLED = false
[indexer]
ISSUE_INDEXER_TYPE = db
`, as.name, dir, host[strings.LastIndexByte(host, ':')+1:], host, limit))
	as.own(t, dir)
	gitea := func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, program, append([]string{"--config", config, "--work-path", dir}, args...)...)
		cmd.Dir, cmd.SysProcAttr = dir, as.attr
		cmd.Env = []string{"HOME=" + dir, "USER=" + as.name, "PATH=" + os.Getenv("PATH")}
		return cmd
	}
	do := func(args ...string) string {
		t.Helper()
		out, err := gitea(t.Context(), args...).Output()
		if err != nil {
			t.Fatalf("gitea %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	do("migrate")
	do("admin", "user", "create", "--admin", "--username", "root", "--password", "Long-enough-1", "--email", "root@example.com", "--must-change-password=false")
	// Administrators have no size limits.
	do("admin", "user", "create", "--username", "acme", "--password", "Long-enough-1", "--email", "acme@example.com", "--must-change-password=false")
	token := do("admin", "user", "generate-access-token", "--username", "acme", "--token-name", "push", "--scopes", "write:package", "--raw")
	admin := do("admin", "user", "generate-access-token", "--username", "root", "--token-name", "cron", "--scopes", "all", "--raw")
	run(t, gitea(context.Background(), "web"), dir)
	waitFor(t, "http://"+host+"/api/v1/version")
	s := &server{host: host, owner: "acme", forgets: true, config: dockerConfig(t, host, "acme", token), login: &publish.Login{Host: host, Username: "acme", Password: token}}
	s.collect = func(t *testing.T) { giteaCleanup(t, host, admin) }
	return s
}

// giteaCleanup runs the job that removes unreferenced blobs.
func giteaCleanup(t *testing.T, host, token string) {
	t.Helper()
	call := func(method, path string) []byte {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+host+"/api/v1/admin/cron"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "token "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := readBody(t, resp)
		if resp.StatusCode >= 300 {
			t.Fatalf("%s %s: %s: %s", method, path, resp.Status, body)
		}
		return body
	}
	runs := func() int {
		var jobs []struct {
			Name  string
			Times int `json:"exec_times"`
		}
		if err := json.Unmarshal(call(http.MethodGet, "?limit=100"), &jobs); err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			if j.Name == "cleanup_packages" {
				return j.Times
			}
		}
		t.Fatalf("no cleanup job among %v", jobs)
		return 0
	}
	before := runs()
	call(http.MethodPost, "/cleanup_packages")
	for end := time.Now().Add(time.Minute); runs() == before; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the cleanup didn't run")
		}
	}
	time.Sleep(time.Second) // it is counted when it begins
}

// account is whom a server runs as.
type account struct {
	name     string
	uid, gid int
	attr     *syscall.SysProcAttr
}

// unprivileged is nobody when the tests run as root, which Gitea refuses.
func unprivileged(t *testing.T) account {
	t.Helper()
	if os.Getuid() == 0 {
		const nobody = 65534
		return account{"nobody", nobody, nobody, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}}
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return account{u.Username, os.Getuid(), os.Getgid(), nil}
}

func (a account) own(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, a.uid, a.gid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// openTempDir is a temporary folder that other users may enter.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "registry")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyProgram(t *testing.T, dst, src string) {
	t.Helper()
	in, err := os.Open(src)
	if err != nil {
		t.Fatalf("%v: run make registries", err)
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a server until the test ends.
func run(t *testing.T, cmd *exec.Cmd, dir string) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if cmd.Dir == "" {
		cmd.Dir = dir
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		if t.Failed() && log.Len() > 0 {
			t.Logf("the server said:\n%.4000s", log.Bytes())
		}
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitFor waits until a server answers.
func waitFor(t *testing.T, url string) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode < 500 {
			return
		}
	}
	t.Fatalf("nobody answers at %s", url)
}

func dockerConfig(t *testing.T, host, name, password string) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(name + ":" + password))}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.json")
	writeTestFile(t, path, raw)
	return path
}
