package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/callback"
	"github.com/powernode/bootsmith/callback/ingest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/cmd/internal/receiver"
	"github.com/powernode/bootsmith/publish"
	"github.com/powernode/bootsmith/publish/localstack"
)

// webhookID is the identifier of the demo's webhook.
const webhookID = "demo"

// lab is a registry, a signing stack and an ingest server, all running.
type lab struct {
	stack      *localstack.Stack
	service    *ingest.Service
	stop       context.CancelFunc
	served     chan error
	api        string // base URL of the ingest API
	token      string // opens the API for reading
	platformID string
	webhookURL string
	secret     callback.Secret
}

func startLab(ctx context.Context, env cli.Env, state string) (_ *lab, err error) {
	l := &lab{served: make(chan error, 1)}
	if l.stack, err = localstack.Start(ctx, localstack.Config{Dir: filepath.Join(state, "sigstore"), Now: env.Now}); err != nil {
		return nil, fmt.Errorf("starting the registry and the signing stack: %w", err)
	}
	if err := l.startIngest(ctx, env, state); err != nil {
		return nil, errors.Join(err, shutdown(l.stack))
	}
	return l, nil
}

func (l *lab) startIngest(ctx context.Context, env cli.Env, state string) (err error) {
	key, err := receiver.ReadKey(filepath.Join(state, "ingest.key"), rand.Reader)
	if err != nil {
		return err
	}
	if l.token, err = randomHex(); err != nil {
		return err
	}
	if l.secret, err = keptSecret(filepath.Join(state, "webhook.secret")); err != nil {
		return err
	}
	l.service, err = ingest.Open(ingest.Config{
		DB: filepath.Join(state, "ingest.db"), Key: key, Now: env.Now, Rand: rand.Reader,
		Tokens:   []ingest.Token{{Name: "demo", Secret: callback.Secret(l.token), Scopes: []ingest.Scope{ingest.ScopeRead}}},
		Verifier: receiver.Verifier{TrustedRootPath: l.stack.TrustedRootPath},
	})
	if err != nil {
		return fmt.Errorf("opening the ingest service: %w", err)
	}
	if err := l.provision(ctx); err != nil {
		return errors.Join(err, l.service.Close())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, l.service.Close())
	}
	l.api = "http://" + listener.Addr().String()
	l.webhookURL = l.api + "/api/v1/system/webhooks/disk_image/built/" + webhookID
	serving, stop := context.WithCancel(ctx)
	l.stop = stop
	go func() { l.served <- receiver.Serve(serving, l.service, listener) }()
	return nil
}

// provision makes the platform and its webhook, or brings those of an earlier
// run up to date.
func (l *lab) provision(ctx context.Context) error {
	identity, issuer := l.patterns()
	change := ingest.PlatformChange{CosignIdentityRegexp: &identity, CosignIssuerRegexp: &issuer}
	p, err := l.service.CreatePlatform(ctx, demoPlatform, change)
	if errors.Is(err, ingest.ErrConflict) {
		var all ingest.List[ingest.Platform]
		if all, err = l.service.Platforms(ctx, ingest.Page{}); err != nil {
			return err
		}
		for _, known := range all.Items {
			if known.Name == demoPlatform {
				p, err = l.service.UpdatePlatform(ctx, known.ID, change)
			}
		}
	}
	if err != nil {
		return err
	}
	l.platformID = p.ID
	_, _, err = l.service.AddWebhook(ctx, p.ID, webhookID, l.secret)
	if errors.Is(err, ingest.ErrConflict) {
		return nil
	}
	return err
}

// patterns returns the trust patterns: the stack's identity, to the letter.
func (l *lab) patterns() (identity, issuer string) {
	return regexp.QuoteMeta(l.stack.Identity), regexp.QuoteMeta(l.stack.Issuer)
}

func (l *lab) close() error {
	l.stop()
	return errors.Join(<-l.served, l.service.Close(), shutdown(l.stack))
}

// commandLine returns a function that runs bootsmith in this process as a job
// of a workflow would: with the stack's token endpoint and the webhook's secret
// in its environment, and little else.
func (l *lab) commandLine(env cli.Env) func(ctx context.Context, args []string) error {
	job := env
	job.Getenv = func(name string) string {
		switch name {
		case "ACTIONS_ID_TOKEN_REQUEST_URL":
			return l.stack.ActionsTokenURL
		case "ACTIONS_ID_TOKEN_REQUEST_TOKEN":
			return l.stack.ActionsToken
		case cli.WebhookSecretVariable:
			return string(l.secret)
		case "HOME", "SOURCE_DATE_EPOCH", cli.MirrorVariable:
			return env.Getenv(name)
		}
		return ""
	}
	return func(ctx context.Context, args []string) error {
		fmt.Fprintf(env.Stderr, "\n$ bootsmith %s\n", strings.Join(args, " "))
		if code := cli.Run(ctx, job, args); code != cli.ExitOK {
			return &fault.Error{Class: classOf(code), Err: fmt.Errorf("running bootsmith %s: it ended with exit code %d", args[0], code)}
		}
		return nil
	}
}

func classOf(code int) fault.Class {
	for class, c := range map[fault.Class]int{
		fault.Input: cli.ExitInput, fault.Tool: cli.ExitTool, fault.Build: cli.ExitBuild,
		fault.Remote: cli.ExitRemote, fault.Callback: cli.ExitCallback,
	} {
		if c == code {
			return class
		}
	}
	return fault.Unknown
}

// verifyArgs is what a stranger types who was given the trust root and the
// signer's name.
func (l *lab) verifyArgs(output string) []string {
	identity, issuer := l.patterns()
	return []string{
		"verify", "--output-dir", output, "--trusted-root", l.stack.TrustedRootPath,
		"--identity-regexp", identity, "--issuer-regexp", issuer,
		"--predicate", publish.PredicatePublication + "," + publish.PredicateSPDX + "," + publish.PredicateCycloneDX,
	}
}

// keptSecret reads a secret that an earlier run made, or makes one.
func keptSecret(path string) (callback.Secret, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return callback.Secret(strings.TrimSpace(string(text))), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	secret, err := randomHex()
	if err != nil {
		return "", err
	}
	return callback.Secret(secret), os.WriteFile(path, []byte(secret+"\n"), 0o600)
}

func randomHex() (string, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(rand.Reader, b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}
