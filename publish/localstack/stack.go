package localstack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
)

// Config says where a stack keeps its state and whom it certifies. Only Dir is
// required.
type Config struct {
	// Dir holds keys and state. It is created, and belongs to one stack at a time.
	Dir string
	// Addr is the address to listen on, by default "127.0.0.1:0"; without Issuers,
	// it must be a loopback one. Port 0 stands for the port of the last start if it
	// is free, else for any free one; another port is used or Start fails.
	Addr string
	// PublicURL is where clients reach the stack, for signing_config.json: that of
	// a proxy with TLS in front of it. Requests for its host are answered, too. By
	// default it is the address itself.
	PublicURL string
	// Issuers, when there are any, are the only ones whose tokens Fulcio takes.
	// Then neither the stack's own issuer, which gives tokens to whoever has its
	// bearer token, nor its registry, which takes everything from everybody, is
	// served.
	Issuers []OIDCIssuer
	// IssuerTransport sends the requests to Issuers; nil means
	// http.DefaultTransport.
	IssuerTransport http.RoundTripper
	// Server is the URL of the CI server that identities begin with, by default
	// "https://gitea.example.org". Nothing is ever sent there.
	Server string
	// Issuer is the iss claim of tokens and the issuer in certificates, by
	// default Server + "/api/actions".
	Issuer string
	// Workflow is the default identity, by default the workflow
	// .gitea/workflows/build.yml of acme/images on main.
	Workflow Workflow

	// Now is the clock of tokens, timestamps and new CA certificates.
	// The system's when nil.
	Now func() time.Time
	// Rand is the source of keys, secrets and serial numbers; upstream code and
	// the standard library's signatures use the system's. crypto/rand when nil.
	Rand io.Reader
	// Log takes one line per event worth knowing. Silent when nil.
	Log func(format string, args ...any)
}

// Stack is a running stack. Its fields do not change.
type Stack struct {
	URL      string // "http://127.0.0.1:PORT"
	Registry string // "127.0.0.1:PORT", plain HTTP; empty with Config.Issuers

	TrustedRootPath   string // trusted_root.json in Dir
	SigningConfigPath string // signing_config.json in Dir

	// ActionsTokenURL and ActionsToken are values for
	// ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN. These two
	// and the next are empty with Config.Issuers.
	ActionsTokenURL, ActionsToken string

	// Identity and Issuer are what certificates for the default identity carry.
	Identity, Issuer string

	issuer   *issuer
	rekor    *rekor
	registry *ociRegistry
	fresh    freshConns
	server   *http.Server
	lock     *os.File
	cancel   context.CancelFunc
	served   chan struct{}
	once     sync.Once
}

func (c Config) withDefaults() Config {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if c.Server == "" {
		c.Server = "https://gitea.example.org"
	}
	c.Server = strings.TrimRight(c.Server, "/")
	if c.Issuer == "" {
		c.Issuer = c.Server + "/api/actions"
	}
	c.Workflow = c.Workflow.or(Workflow{
		Repository: "acme/images", File: ".gitea/workflows/build.yml",
		Ref: "refs/heads/main", Commit: strings.Repeat("0", 40),
	})
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	c.Rand = &lockedReader{r: c.Rand}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	return c
}

// Start starts a stack and returns once it serves. ctx bounds the start only:
// the stack runs until Close. Errors of class fault.Input mean an address that
// is not loopback or taken, or a state directory that is in use or damaged.
func Start(ctx context.Context, c Config) (*Stack, error) {
	c = c.withDefaults()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if u, err := url.Parse(c.Server); err != nil || u.Host == "" {
		return nil, fault.Inputf("starting the local stack: %q is not a server URL", c.Server)
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Host == "") {
		return nil, fault.Inputf("starting the local stack: %q is not a URL", c.PublicURL)
	}
	if c.PublicURL != "" && len(c.Issuers) == 0 {
		return nil, fault.Inputf("starting the local stack for %q: by itself it certifies whoever asks", c.PublicURL).WithFix("name an OIDC issuer")
	}
	silenceUpstream()
	state, lock, err := openState(c.Dir)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Stack{lock: lock, cancel: cancel, served: make(chan struct{})}
	if err := s.start(life, c, state); err != nil {
		cancel()
		lock.Close()
		return nil, err
	}
	c.Log("local stack on %s, state in %s", s.URL, c.Dir)
	return s, nil
}

func (s *Stack) start(ctx context.Context, c Config, state stateDir) error {
	listener, err := listen(c.Addr, state, len(c.Issuers) > 0)
	if err != nil {
		return err
	}
	s.URL = "http://" + listener.Addr().String()
	if len(c.Issuers) == 0 {
		s.Registry = listener.Addr().String()
	}
	public := s.URL
	if c.PublicURL != "" {
		public = strings.TrimRight(c.PublicURL, "/")
	}
	mux := http.NewServeMux()
	if err := s.assemble(ctx, c, state, mux, public); err != nil {
		listener.Close()
		return err
	}
	s.server = &http.Server{
		Handler:           localOnly(mux, hostOf(c.PublicURL)),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         s.fresh.track,
		ErrorLog:          log.New(logf(c.Log), "", 0),
	}
	go func() {
		defer close(s.served)
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			c.Log("serving: %v", err)
		}
	}()
	return nil
}

// assemble makes the parts, connects them and writes the two client files.
func (s *Stack) assemble(ctx context.Context, c Config, state stateDir, mux *http.ServeMux, public string) error {
	k := keyring{state: state, now: c.Now, rand: c.Rand}
	ca, err := loadCA(k)
	if err != nil {
		return err
	}
	if s.issuer, err = loadIssuer(k, c, s.URL); err != nil {
		return err
	}
	scts, err := loadSCTSigner(k, ca.chain[0])
	if err != nil {
		return err
	}
	stamps, err := loadTSA(k)
	if err != nil {
		return err
	}
	s.registry, err = openRegistry(state, c.Rand, c.Log)
	if err != nil {
		return err
	}
	if s.rekor, err = openRekor(ctx, k); err != nil {
		return err
	}
	ctlog, err := scts.client(logf(c.Log))
	if err != nil {
		return err
	}
	pool, err := issuers(ctx, c, s.issuer)
	if err != nil {
		return err
	}
	fulcio, err := newFulcio(ctx, ca, ctlog, s.issuer, pool)
	if err != nil {
		return err
	}
	mux.Handle("/fulcio/", api(http.StripPrefix("/fulcio", fulcio)))
	if len(c.Issuers) == 0 {
		mux.Handle("/v2/", s.registry)
		s.issuer.routes(mux)
	}
	stamps.routes(mux, api)
	s.rekor.routes(mux, api)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	s.describe(state, len(c.Issuers) == 0)
	return writeClientFiles(state, public, issuerURLs(c, public), ca, scts, stamps, s.rekor)
}

// issuerURLs says where clients get tokens.
func issuerURLs(c Config, public string) []string {
	if len(c.Issuers) == 0 {
		return []string{public + "/oidc"}
	}
	var urls []string
	for _, i := range c.Issuers {
		urls = append(urls, i.URL)
	}
	return urls
}

func loadIssuer(k keyring, c Config, base string) (*issuer, error) {
	key, err := k.rsaKey("oidc.pem")
	if err != nil {
		return nil, err
	}
	bearer, err := k.secret("actions-token")
	if err != nil {
		return nil, err
	}
	spk, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the issuer's key: %w", err)
	}
	kid := sha256.Sum256(spk)
	return &issuer{
		name: c.Issuer, server: c.Server, url: base + "/oidc", workflow: c.Workflow, bearer: bearer,
		key: key, kid: hex.EncodeToString(kid[:8]), now: c.Now, rand: c.Rand,
	}, nil
}

func (s *Stack) describe(state stateDir, own bool) {
	s.TrustedRootPath = state.path("trusted_root.json")
	s.SigningConfigPath = state.path("signing_config.json")
	if !own {
		return
	}
	// With a query, as on GitHub and Forgejo: clients must add theirs to it.
	s.ActionsTokenURL = s.URL + "/oidc/actions/token?api-version=2.0"
	s.ActionsToken = s.issuer.bearer
	s.Identity = s.IdentityOf(Workflow{})
	s.Issuer = s.issuer.name
}

// Shutdown stops the stack: it lets requests finish until ctx ends, then cuts
// them off. Only the first call of Shutdown or Close does anything.
func (s *Stack) Shutdown(ctx context.Context) (err error) {
	s.once.Do(func() { err = s.stop(ctx) })
	return err
}

// Close stops the stack and gives requests five seconds to finish.
func (s *Stack) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return s.Shutdown(ctx)
}

func (s *Stack) stop(ctx context.Context) error {
	s.fresh.close()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("stopping the local stack: %w", err), s.server.Close())
	}
	<-s.served
	s.registry.uploads.close()
	if e := s.rekor.stop(ctx); e != nil {
		err = errors.Join(err, fmt.Errorf("closing the log: %w", e))
	}
	s.cancel()
	return errors.Join(err, s.lock.Close())
}
