package cli

import (
	"net/http"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/image/registry"
	"github.com/powernode/bootsmith/publish"
)

// Environment variables that stand in for flags about registries.
const (
	RegistryCAVariable       = "BOOTSMITH_REGISTRY_CA"
	RegistryUsernameVariable = "BOOTSMITH_REGISTRY_USERNAME"
	RegistryPasswordVariable = "BOOTSMITH_REGISTRY_PASSWORD"
	RegistryHostVariable     = "BOOTSMITH_REGISTRY_HOST"
)

// registryFlags are the flags of every verb that reaches a registry.
type registryFlags struct {
	plainHTTP                        bool
	ca, username, passwordFile, host string
}

func (r *registryFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&r.plainHTTP, "plain-http", false, "speak HTTP to registries; loopback registries are always spoken to so")
	f.StringVar(&r.ca, "registry-ca", "", "PEM file with the certificate authority of the registry, beside the system's (default: "+RegistryCAVariable+")")
	f.StringVar(&r.username, "registry-username", "", "account at the registry (default: "+RegistryUsernameVariable+", then Docker's credentials)")
	f.StringVar(&r.passwordFile, "registry-password-file", "", "file with the account's password or access token (default: the value of "+RegistryPasswordVariable+")")
	f.StringVar(&r.host, "registry-host", "", "registry that the account is for, host or host:port (default: "+RegistryHostVariable+", then that of the repository or reference)")
}

// access says how registries are reached. The account, if one is given, is used
// at one registry only: --registry-host, or that of the references.
func (r registryFlags) access(env Env, refs ...string) (publish.Access, error) {
	base := env.Transport
	if base == nil {
		base = http.DefaultTransport.(*http.Transport)
	}
	a := publish.Access{PlainHTTP: r.plainHTTP, DockerConfig: publish.DockerConfigPath(env.Getenv), Transport: base}
	var err error
	if ca := firstOf(r.ca, env.Getenv(RegistryCAVariable)); ca != "" {
		if a.Transport, err = publish.TrustCA(base, ca); err != nil {
			return a, err
		}
	}
	a.Login, err = r.login(env, refs)
	return a, err
}

// login returns the account of the flags or the environment, nil if there is
// none.
func (r registryFlags) login(env Env, refs []string) (*publish.Login, error) {
	l := &publish.Login{
		Username: firstOf(r.username, env.Getenv(RegistryUsernameVariable)),
		Password: env.Getenv(RegistryPasswordVariable), Host: firstOf(r.host, env.Getenv(RegistryHostVariable)),
	}
	if r.passwordFile != "" {
		raw, err := os.ReadFile(r.passwordFile)
		if err != nil {
			return nil, fault.Inputf("reading --registry-password-file: %w", err)
		}
		l.Password = strings.TrimRight(string(raw), "\r\n")
	}
	switch {
	case l.Username == "" && l.Password == "":
		return nil, nil
	case l.Username == "":
		return nil, fault.Inputf("logging in to the registry: a password is given without an account").
			WithFix("give --registry-username or set %s", RegistryUsernameVariable)
	case l.Password == "":
		return nil, fault.Inputf("logging in to the registry as %q: no password is given", l.Username).
			WithFix("give --registry-password-file or set %s", RegistryPasswordVariable)
	case l.Host != "":
		return l, nil
	}
	for _, ref := range refs {
		host, _, _ := strings.Cut(ref, "/")
		if l.Host != "" && host != l.Host {
			return nil, fault.Inputf("logging in as %q: the references are at %s and %s", l.Username, l.Host, host).
				WithFix("say with --registry-host whose account it is, or use Docker's credentials")
		}
		l.Host = host
	}
	if l.Host == "" {
		return nil, fault.Inputf("logging in as %q: no registry is named", l.Username).
			WithFix("say with --registry-host whose account it is, or set %s", RegistryHostVariable)
	}
	return l, nil
}

// images opens a repository of container images to build from. The account is
// for the registry that is published to, if nothing else is said.
func (r registryFlags) images(env Env, repository, published string) (*registry.Repository, error) {
	a, err := r.access(env, published)
	if err != nil {
		return nil, err
	}
	return registry.Open(repository, registry.Options{
		Keychain: authn.NewMultiKeychain(keychain{a.Login}, authn.DefaultKeychain), Transport: a.Transport, PlainHTTP: a.PlainHTTP,
	})
}

// keychain is an account as go-containerregistry takes it.
type keychain struct{ login *publish.Login }

// Resolve implements authn.Keychain.
func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if k.login == nil || target.RegistryStr() != k.login.Host {
		return authn.Anonymous, nil
	}
	return &authn.Basic{Username: k.login.Username, Password: k.login.Password}, nil
}
