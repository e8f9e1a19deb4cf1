package publish

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/powernode/bootsmith/builder/fault"
)

// audience is what Fulcio expects in a token's aud claim.
const audience = "sigstore"

// maxToken bounds an identity token and the answer that carries one, in bytes.
const maxToken = 64 << 10

// maxUnix is the last second of the year 9999.
const maxUnix = 253402300799

// TokenSource returns a fresh OIDC identity token. Tokens live for minutes, so
// it is asked again whenever one is needed.
type TokenSource func(ctx context.Context) (string, error)

// TokenOptions are the ways to an identity token, in the order in which they
// are tried.
type TokenOptions struct {
	Token string // the token itself
	File  string // a file that holds it, read again each time
	// Command prints it; Run runs a command line and returns what it prints.
	Command string
	Run     func(ctx context.Context, command string) ([]byte, error)
	// Getenv looks up SIGSTORE_ID_TOKEN and ACTIONS_ID_TOKEN_REQUEST_URL and
	// _TOKEN.
	Getenv func(name string) string
	// Now is the clock, for telling that a token has expired; nil means time.Now.
	Now func() time.Time
	// Transport sends the request for an Actions token; nil means
	// http.DefaultTransport.
	Transport http.RoundTripper
}

// Source returns the first source that is configured. When none is, the error
// lists them all.
func (o TokenOptions) Source() (TokenSource, error) {
	env := o.Getenv
	if env == nil {
		env = func(string) string { return "" }
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	requestURL, requestToken := env("ACTIONS_ID_TOKEN_REQUEST_URL"), env("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	switch {
	case o.Token != "":
		return fixedToken(o.Token, "--identity-token", now), nil
	case o.File != "":
		return fileToken(o.File, now), nil
	case env("SIGSTORE_ID_TOKEN") != "":
		return fixedToken(env("SIGSTORE_ID_TOKEN"), "SIGSTORE_ID_TOKEN", now), nil
	case o.Command != "" && o.Run != nil:
		return commandToken(o.Command, o.Run, now), nil
	case requestURL != "" && requestToken != "":
		return actionsToken(requestURL, requestToken, o.Transport, now), nil
	}
	return nil, fault.Inputf("looking for an identity token to sign with: there is none").WithFix(
		"give --identity-token or --identity-token-file, set SIGSTORE_ID_TOKEN, give --identity-token-command, " +
			"or run in an Actions job with an ID token (ACTIONS_ID_TOKEN_REQUEST_URL and _TOKEN: " +
			"`permissions: id-token: write` on GitHub, `enable-openid-connect: true` on Forgejo; Gitea has none yet)")
}

func fixedToken(token, name string, now func() time.Time) TokenSource {
	return func(context.Context) (string, error) { return checkToken([]byte(token), name, now()) }
}

func fileToken(path string, now func() time.Time) TokenSource {
	return func(context.Context) (string, error) {
		raw, err := readBounded(path, maxToken)
		if err != nil {
			return "", fault.Inputf("reading the identity token: %w", err)
		}
		return checkToken(raw, path, now())
	}
}

func commandToken(command string, run func(context.Context, string) ([]byte, error), now func() time.Time) TokenSource {
	return func(ctx context.Context) (string, error) {
		raw, err := run(ctx, command)
		if err != nil {
			return "", fault.Inputf("running the identity token command: %w", err)
		}
		return checkToken(raw, "the output of --identity-token-command", now())
	}
}

// checkToken refuses what is no JSON Web Token or has expired, without repeating
// it: a token is a secret.
func checkToken(raw []byte, where string, now time.Time) (string, error) {
	token := strings.TrimSpace(string(raw))
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fault.Inputf("reading the identity token from %s: it is not a JSON Web Token", where)
	}
	if expiry := tokenExpiry(parts[1]); !expiry.IsZero() && !now.Before(expiry) {
		return "", fault.Inputf("reading the identity token from %s: it expired at %s", where, expiry.UTC().Format(time.RFC3339)).
			WithFix("get a new one, and run `bootsmith publish --resume` if something was pushed; a job that is longer than a token lives needs a source that is asked again: " +
				"a file that is kept fresh, --identity-token-command, or the job's token service")
	}
	return token, nil
}

// tokenExpiry reads a token's exp claim (RFC 7519 section 4.1.4), without
// verifying anything; the zero time when there is none.
func tokenExpiry(payload string) time.Time {
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Expiry float64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(raw, &claims) != nil || claims.Expiry <= 0 || claims.Expiry > maxUnix {
		return time.Time{}
	}
	return time.Unix(int64(claims.Expiry), 0)
}

// actionsToken asks the job's runner for a token, the way that GitHub documents
// ("Methods for requesting the OIDC token") and Forgejo shares.
func actionsToken(requestURL, bearer string, transport http.RoundTripper, now func() time.Time) TokenSource {
	if transport == nil {
		transport = http.DefaultTransport
	}
	client := &http.Client{Transport: &retrier{base: transport, wait: firstWait, refuse: true}}
	return func(ctx context.Context) (string, error) {
		raw, err := requestToken(ctx, client, requestURL, bearer)
		if err != nil {
			return "", signError(fmt.Errorf("asking the Actions runner for an identity token: %w", err))
		}
		return checkToken(raw, "the Actions runner", now())
	}
}

func requestToken(ctx context.Context, client *http.Client, requestURL, bearer string) ([]byte, error) {
	u, err := url.Parse(requestURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")
	}
	q := u.Query()
	q.Set("audience", audience)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "bearer "+bearer)
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxToken)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("reading its answer: %w", err)
	}
	if answer.Value == "" {
		return nil, errors.New(`its answer has no "value"`)
	}
	return []byte(answer.Value), nil
}
