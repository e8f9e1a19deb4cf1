package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
)

// audience is what Fulcio expects in a token's aud claim.
const audience = "sigstore"

// maxToken bounds an identity token and the answer that carries one, in bytes.
const maxToken = 64 << 10

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
	requestURL, requestToken := env("ACTIONS_ID_TOKEN_REQUEST_URL"), env("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	switch {
	case o.Token != "":
		return fixedToken(o.Token, "--identity-token"), nil
	case o.File != "":
		return fileToken(o.File), nil
	case env("SIGSTORE_ID_TOKEN") != "":
		return fixedToken(env("SIGSTORE_ID_TOKEN"), "SIGSTORE_ID_TOKEN"), nil
	case o.Command != "" && o.Run != nil:
		return commandToken(o.Command, o.Run), nil
	case requestURL != "" && requestToken != "":
		return actionsToken(requestURL, requestToken, o.Transport), nil
	}
	return nil, fault.Inputf("looking for an identity token to sign with: there is none").WithFix(
		"give --identity-token or --identity-token-file, set SIGSTORE_ID_TOKEN, give --identity-token-command, " +
			"or run in an Actions job with an ID token (ACTIONS_ID_TOKEN_REQUEST_URL and _TOKEN: " +
			"`permissions: id-token: write` on GitHub, `enable-openid-connect: true` on Forgejo; Gitea has none yet)")
}

func fixedToken(token, name string) TokenSource {
	return func(context.Context) (string, error) { return checkToken([]byte(token), name) }
}

func fileToken(path string) TokenSource {
	return func(context.Context) (string, error) {
		raw, err := readBounded(path, maxToken)
		if err != nil {
			return "", fault.Inputf("reading the identity token: %w", err)
		}
		return checkToken(raw, path)
	}
}

func commandToken(command string, run func(context.Context, string) ([]byte, error)) TokenSource {
	return func(ctx context.Context) (string, error) {
		raw, err := run(ctx, command)
		if err != nil {
			return "", fault.Inputf("running the identity token command: %w", err)
		}
		return checkToken(raw, "the output of --identity-token-command")
	}
}

// checkToken refuses what is no JSON Web Token, without repeating it: a token
// is a secret.
func checkToken(raw []byte, where string) (string, error) {
	token := strings.TrimSpace(string(raw))
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fault.Inputf("reading the identity token from %s: it is not a JSON Web Token", where)
	}
	return token, nil
}

// actionsToken asks the job's runner for a token, the way that GitHub documents
// ("Methods for requesting the OIDC token") and Forgejo shares.
func actionsToken(requestURL, bearer string, transport http.RoundTripper) TokenSource {
	if transport == nil {
		transport = http.DefaultTransport
	}
	client := &http.Client{Transport: &retrier{base: transport, wait: firstWait, refuse: true}}
	return func(ctx context.Context) (string, error) {
		raw, err := requestToken(ctx, client, requestURL, bearer)
		if err != nil {
			return "", fault.Default(fault.Remote, fmt.Errorf("asking the Actions runner for an identity token: %w", err))
		}
		return checkToken(raw, "the Actions runner")
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
