package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// Access says how a registry is reached. The zero value uses HTTPS (HTTP for
// loopback hosts) without credentials.
type Access struct {
	// PlainHTTP speaks HTTP to any registry, not to loopback hosts only.
	PlainHTTP bool
	// DockerConfig is the path of a Docker config.json with credentials or
	// credential helpers; a file that does not exist holds none.
	DockerConfig string
	// Login, when set, goes before the Docker config's credentials.
	Login *Login
	// Transport sends the requests; nil means http.DefaultTransport.
	Transport http.RoundTripper
	// Wait is the time before a failed request is repeated for the first time;
	// it doubles with each. 0 means a quarter of a second.
	Wait time.Duration
}

// Login is an account at one registry; no other is told its password.
type Login struct {
	Host               string // as in references: host or host:port
	Username, Password string
}

// DockerConfigPath returns where Docker keeps its credentials: in the folder
// $DOCKER_CONFIG, else in $HOME/.docker.
func DockerConfigPath(getenv func(string) string) string {
	dir := getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(getenv("HOME"), ".docker")
	}
	return filepath.Join(dir, "config.json")
}

// Resolve returns the digest ("sha256:…") that a reference's tag names now. A
// reference with a digest is resolved too: the manifest must exist.
func Resolve(ctx context.Context, a Access, ref string) (string, error) {
	repo, err := a.repository(ref)
	if err != nil {
		return "", err
	}
	if repo.Reference.Reference == "" {
		return "", fault.Inputf("resolving %q: it has neither a tag nor a digest", ref)
	}
	desc, err := repo.Resolve(ctx, repo.Reference.Reference)
	if err != nil {
		return "", fault.Default(fault.Remote, fmt.Errorf("resolving %q: %w", ref, err))
	}
	return desc.Digest.String(), nil
}

// CheckRepository returns an error of class fault.Input unless name is that of a
// repository: "registry/path".
func CheckRepository(name string) error {
	ref, err := registry.ParseReference(name)
	if err == nil && ref.Reference != "" {
		err = errors.New("it has a tag or a digest")
	}
	if err != nil {
		return fault.Inputf("reading the repository %q: %w", name, err).WithFix("write it as registry/path")
	}
	return nil
}

// repository opens the repository of a reference; tag or digest may be missing.
func (a Access) repository(ref string) (*remote.Repository, error) {
	parsed, err := registry.ParseReference(ref)
	if err != nil {
		return nil, fault.Inputf("reading the reference %q: %w", ref, err).WithFix("write it as registry/path, registry/path:tag or registry/path@sha256:…")
	}
	local := isLoopback(parsed.Host())
	client := &auth.Client{
		Client: &http.Client{Transport: &retrier{base: a.transport(), wait: a.wait()}},
		Header: http.Header{"User-Agent": {"bootsmith"}},
		// Gitea's challenge asks for another scope than ours. A cache by scope
		// would miss, and every piece of a file be refused before it is sent
		// again with the token.
		Cache: auth.NewSingleContextCache(),
	}
	if local {
		// A loopback registry's token service is on loopback, too.
		client.BlockedRealmPrefixes = []netip.Prefix{}
	}
	if client.Credential, err = a.credential(parsed.Registry); err != nil {
		return nil, err
	}
	return &remote.Repository{
		Client: client, Reference: parsed, PlainHTTP: a.PlainHTTP || local,
		MaxMetadataBytes: maxManifest, ReferrerListMaxPages: 32,
	}, nil
}

// credential returns what knows the credentials for a registry, nil for none.
func (a Access) credential(host string) (auth.CredentialFunc, error) {
	if l := a.Login; l != nil && l.Host == host {
		// The client asks by the name that the host has in requests.
		asked := registry.Reference{Registry: host}.Host()
		return auth.StaticCredential(asked, auth.Credential{Username: l.Username, Password: l.Password}), nil
	}
	if a.DockerConfig == "" {
		return nil, nil
	}
	store, err := credentials.NewStore(a.DockerConfig, credentials.StoreOptions{})
	if err != nil {
		return nil, fault.Inputf("reading the registry credentials in %q: %w", a.DockerConfig, err)
	}
	return credentials.Credential(store), nil
}

func (a Access) wait() time.Duration {
	if a.Wait > 0 {
		return a.Wait
	}
	return firstWait
}

func (a Access) transport() http.RoundTripper {
	if a.Transport != nil {
		return a.Transport
	}
	return http.DefaultTransport
}

func isLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
