package localstack

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/sigstore/fulcio/pkg/certificate"
	"github.com/sigstore/fulcio/pkg/config"
	"github.com/sigstore/fulcio/pkg/identity"

	"github.com/powernode/bootsmith/builder/fault"
)

// OIDCIssuer is an OpenID Connect issuer elsewhere whose tokens Fulcio takes: a
// forge that gives tokens to the jobs of its workflows, or a login service.
type OIDCIssuer struct {
	// URL is the tokens' iss claim, under which the issuer can be discovered
	// (OpenID Connect Discovery 1.0).
	URL string
	// Kind is what its tokens are about.
	Kind IssuerKind
	// Server is the URL that the names of workflows begin with; empty means the
	// scheme and host of URL.
	Server string
	// Audience is what tokens must be for; empty means "sigstore".
	Audience string
}

// IssuerKind says which claims of a token make the name in a certificate.
type IssuerKind string

// The kinds: a workflow is called as GitHub and Forgejo call it
// (job_workflow_ref, else workflow_ref, behind the server's URL), a person by a
// verified e-mail address.
const (
	WorkflowIssuer IssuerKind = "workflow"
	EmailIssuer    IssuerKind = "email"
)

// external authenticates the tokens of an issuer elsewhere. The issuer is asked
// for its keys when the first token comes, and again when they change.
type external struct {
	config OIDCIssuer
	ctx    context.Context // of the stack's life; carries the HTTP client
	now    func() time.Time
	log    func(format string, args ...any)

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
}

func newExternal(ctx context.Context, o OIDCIssuer, c Config) (*external, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopbackName(u.Hostname())) {
		return nil, fault.Inputf("trusting the issuer %q: it is no https URL", o.URL)
	}
	if o.Server == "" {
		o.Server = u.Scheme + "://" + u.Host
	}
	o.Server = strings.TrimRight(o.Server, "/")
	if o.Audience == "" {
		o.Audience = Audience
	}
	if o.Kind != WorkflowIssuer && o.Kind != EmailIssuer {
		return nil, fault.Inputf("trusting the issuer %q: the kind %q is unknown", o.URL, o.Kind).WithFix("write workflow or email")
	}
	client := &http.Client{Transport: c.IssuerTransport, Timeout: 10 * time.Second}
	return &external{config: o, ctx: oidc.ClientContext(ctx, client), now: c.Now, log: c.Log}, nil
}

// Match implements identity.Issuer.
func (e *external) Match(_ context.Context, url string) bool { return url == e.config.URL }

// Authenticate implements identity.Issuer.
func (e *external) Authenticate(ctx context.Context, token string, _ ...config.InsecureOIDCConfigOption) (identity.Principal, error) {
	v, err := e.discovered()
	if err != nil {
		e.log("asking the issuer %s for its keys: %v", e.config.URL, err)
		return nil, err
	}
	id, err := v.Verify(ctx, token)
	if err != nil {
		e.log("refusing a token of %s: %v", e.config.URL, err)
		return nil, err
	}
	p, err := e.principal(id)
	if err != nil {
		e.log("refusing a token of %s: %v", e.config.URL, err)
		return nil, err
	}
	e.log("certifying %s, token %s of %s", p.san(), id.Subject, e.config.URL)
	return p, nil
}

func (e *external) discovered() (*oidc.IDTokenVerifier, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.verifier == nil {
		provider, err := oidc.NewProvider(e.ctx, e.config.URL)
		if err != nil {
			return nil, err
		}
		e.verifier = provider.Verifier(&oidc.Config{ClientID: e.config.Audience, Now: e.now})
	}
	return e.verifier, nil
}

// externalClaims are those that a certificate repeats.
type externalClaims struct {
	Email          string `json:"email"`
	EmailVerified  bool   `json:"email_verified"`
	JobWorkflowRef string `json:"job_workflow_ref"`
	WorkflowRef    string `json:"workflow_ref"`
	Repository     string `json:"repository"`
	Ref            string `json:"ref"`
	SHA            string `json:"sha"`
	EventName      string `json:"event_name"`
	RunID          string `json:"run_id"`
}

func (e *external) principal(id *oidc.IDToken) (*principal, error) {
	p := &principal{issuer: e.config, subject: id.Subject}
	if err := id.Claims(&p.claims); err != nil {
		return nil, fmt.Errorf("reading the claims: %w", err)
	}
	if e.config.Kind == EmailIssuer {
		if p.claims.Email == "" || !p.claims.EmailVerified {
			return nil, errors.New("the token has no verified e-mail address")
		}
		p.name = p.claims.Email
		return p, nil
	}
	p.name = p.claims.JobWorkflowRef
	if p.name == "" {
		p.name = p.claims.WorkflowRef
	}
	if p.name == "" {
		return nil, errors.New("the token names no workflow: neither job_workflow_ref nor workflow_ref")
	}
	return p, nil
}

// principal is who a token speaks for. It implements identity.Principal.
type principal struct {
	issuer  OIDCIssuer
	subject string
	name    string // the e-mail address or the workflow, without the server
	claims  externalClaims
}

func (p *principal) san() string {
	if p.issuer.Kind == EmailIssuer {
		return p.name
	}
	return p.issuer.Server + "/" + p.name
}

// Name returns what the client has signed to prove that it has the key: the
// address if the token has one, else the subject.
func (p *principal) Name(context.Context) string {
	if p.issuer.Kind == EmailIssuer {
		return p.claims.Email
	}
	return p.subject
}

// Embed writes the name and what is known of the run into a certificate.
func (p *principal) Embed(_ context.Context, cert *x509.Certificate) (err error) {
	e := certificate.Extensions{Issuer: p.issuer.URL}
	if p.issuer.Kind == EmailIssuer {
		cert.EmailAddresses = []string{p.name}
	} else {
		u, err := url.Parse(p.san())
		if err != nil {
			return fmt.Errorf("naming the workflow: %w", err)
		}
		cert.URIs = []*url.URL{u}
		e.BuildSignerURI, e.BuildTrigger, e.SourceRepositoryRef, e.SourceRepositoryDigest = p.san(), p.claims.EventName, p.claims.Ref, p.claims.SHA
		if p.claims.Repository != "" {
			e.SourceRepositoryURI = p.issuer.Server + "/" + p.claims.Repository
		}
		if p.claims.RunID != "" && e.SourceRepositoryURI != "" {
			e.RunInvocationURI = e.SourceRepositoryURI + "/actions/runs/" + p.claims.RunID
		}
	}
	cert.ExtraExtensions, err = e.Render()
	return err
}
