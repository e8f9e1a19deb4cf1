package localstack

import (
	"context"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Audience is the audience that Fulcio asks of identity tokens.
const Audience = "sigstore"

// tokenLife is as short as that of a CI server's tokens.
const tokenLife = 5 * time.Minute

// Workflow says which CI job a token speaks for. Empty fields take the value
// of Config.Workflow.
type Workflow struct {
	Repository string // "acme/images"
	File       string // ".gitea/workflows/build.yml"
	Ref        string // "refs/heads/main"
	Commit     string // 40 hexadecimal digits
}

func (w Workflow) or(d Workflow) Workflow {
	for _, f := range []struct{ v, def *string }{
		{&w.Repository, &d.Repository}, {&w.File, &d.File}, {&w.Ref, &d.Ref}, {&w.Commit, &d.Commit},
	} {
		if *f.v == "" {
			*f.v = *f.def
		}
	}
	return w
}

// ref is the job_workflow_ref claim, as GitHub and Gitea write it.
func (w Workflow) ref() string { return w.Repository + "/" + w.File + "@" + w.Ref }

func (w Workflow) owner() string {
	owner, _, _ := strings.Cut(w.Repository, "/")
	return owner
}

// TokenRequest asks for a token. The zero value asks for the stack's default
// identity, with the audience Fulcio wants and five minutes to live.
type TokenRequest struct {
	Workflow Workflow
	Audience string
	// Lifetime counts from Config.Now. A negative one gives an expired token.
	Lifetime time.Duration
}

// issuer signs identity tokens of a CI server, RS256.
type issuer struct {
	name     string // the iss claim
	server   string // the CI server's URL, without a slash at the end
	url      string // where this issuer really listens
	workflow Workflow
	bearer   string
	key      *rsa.PrivateKey
	kid      string
	now      func() time.Time
	rand     io.Reader
}

// claims are those of a GitHub, Forgejo or Gitea job token that Fulcio uses.
type claims struct {
	jwt.Claims
	Repository        string `json:"repository"`
	RepositoryOwner   string `json:"repository_owner"`
	Ref               string `json:"ref"`
	SHA               string `json:"sha"`
	JobWorkflowRef    string `json:"job_workflow_ref"`
	JobWorkflowSHA    string `json:"job_workflow_sha"`
	EventName         string `json:"event_name"`
	RunID             string `json:"run_id"`
	RunnerEnvironment string `json:"runner_environment"`
}

func (i *issuer) token(r TokenRequest) (string, error) {
	w := r.Workflow.or(i.workflow)
	if r.Audience == "" {
		r.Audience = Audience
	}
	if r.Lifetime == 0 {
		r.Lifetime = tokenLife
	}
	id := make([]byte, 16)
	if _, err := io.ReadFull(i.rand, id); err != nil {
		return "", fmt.Errorf("generating a token id: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.key, KeyID: i.kid}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("preparing the token signer: %w", err)
	}
	issued := i.now()
	expiry := issued.Add(r.Lifetime)
	if r.Lifetime < 0 {
		issued = expiry.Add(-tokenLife)
	}
	return jwt.Signed(signer).Claims(claims{
		Claims: jwt.Claims{
			Issuer: i.name, Subject: "repo:" + w.Repository + ":ref:" + w.Ref, Audience: jwt.Audience{r.Audience},
			IssuedAt: jwt.NewNumericDate(issued), NotBefore: jwt.NewNumericDate(issued),
			Expiry: jwt.NewNumericDate(expiry), ID: hex.EncodeToString(id),
		},
		Repository: w.Repository, RepositoryOwner: w.owner(), Ref: w.Ref, SHA: w.Commit,
		JobWorkflowRef: w.ref(), JobWorkflowSHA: w.Commit,
		EventName: "push", RunID: "1", RunnerEnvironment: "self-hosted",
	}).Serialize()
}

// routes registers the issuer under /oidc/.
func (i *issuer) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /oidc/.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("GET /oidc/jwks", i.keys)
	mux.HandleFunc("GET /oidc/actions/token", i.actions)
}

// discovery answers as OpenID Connect Discovery 1.0 section 4 says, but for the
// issuer: that is a name without a port, so it differs from the address.
func (i *issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                i.name,
		"jwks_uri":                              i.url + "/jwks",
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(jose.RS256)},
	})
}

func (i *issuer) keys(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: &i.key.PublicKey, KeyID: i.kid, Algorithm: string(jose.RS256), Use: "sig"},
	}})
}

// actions serves ACTIONS_ID_TOKEN_REQUEST_URL: a bearer token in, {"value": JWT}
// out. Without audience= the audience is the owner's URL, as on GitHub.
func (i *issuer) actions(w http.ResponseWriter, r *http.Request) {
	scheme, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || subtle.ConstantTimeCompare([]byte(bearer), []byte(i.bearer)) != 1 {
		w.Header().Set("WWW-Authenticate", "Bearer")
		writeJSON(w, http.StatusUnauthorized, map[string]string{"message": "the bearer token is missing or wrong"})
		return
	}
	audience := r.URL.Query().Get("audience")
	if audience == "" {
		audience = i.server + "/" + i.workflow.owner()
	}
	token, err := i.token(TokenRequest{Audience: audience})
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]string{"message": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"value": token, "count": len(token)})
}

// IssueToken returns an identity token (JWT, RS256) for the stack's default
// identity, good for Fulcio and valid for five minutes.
func (s *Stack) IssueToken(ctx context.Context) (string, error) {
	return s.Token(ctx, TokenRequest{})
}

// Token returns an identity token as asked for, including ones that Fulcio
// must refuse.
func (s *Stack) Token(ctx context.Context, r TokenRequest) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	token, err := s.issuer.token(r)
	if err != nil {
		return "", fmt.Errorf("issuing an identity token: %w", err)
	}
	return token, nil
}

// IdentityOf returns the subject alternative name that certificates of this
// workflow carry, e.g.
// https://gitea.example.org/acme/images/.gitea/workflows/build.yml@refs/heads/main.
func (s *Stack) IdentityOf(w Workflow) string {
	return s.issuer.server + "/" + w.or(s.issuer.workflow).ref()
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The status is out; a client that went away cannot be told more.
	_ = json.NewEncoder(w).Encode(v)
}
