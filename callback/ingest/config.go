package ingest

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// Scope is what a bearer token may do.
type Scope string

// The scopes. Operate includes read.
const (
	ScopeRead    Scope = "read"    // look
	ScopeOperate Scope = "operate" // change platforms and webhooks
	ScopeWorker  Scope = "worker"  // the worker API
)

// Token is one static bearer token.
type Token struct {
	Name   string // for the log
	Secret callback.Secret
	Scopes []Scope
}

// minToken is the shortest token that is taken, in bytes.
const minToken = 16

// KeySize is the length of Config.Key in bytes (AES-256).
const KeySize = 32

// Config is what a Service works with.
type Config struct {
	// DB is the path of the SQLite file; it is made when it is not there.
	DB       string
	Verifier Verifier
	// Key encrypts the webhooks' secrets in the database: 32 random bytes.
	Key []byte
	// Tokens open the API. Without one, only the webhooks are reachable.
	Tokens []Token
	Now    func() time.Time
	Rand   io.Reader // cryptographically random
	Log    *slog.Logger
	// Workers is the number of verifications at a time; 0 means 2.
	Workers int
	// VerifyTimeout bounds one verification; 0 means 30 minutes: it reads whole
	// disk images.
	VerifyTimeout time.Duration
	// RetryDelay is the first pause before a verification is tried again whose
	// manifest could not be reached; it doubles. 0 means 2 seconds.
	RetryDelay time.Duration
	// PollInterval is how often the workers look for work that another process
	// has received; 0 means 30 seconds.
	PollInterval time.Duration
}

// withDefaults checks a Config and fills in what may be left out.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.DB == "":
		return c, errors.New("no database")
	case c.Verifier == nil:
		return c, errors.New("no verifier")
	case len(c.Key) != KeySize:
		return c, fmt.Errorf("the key has %d bytes, not %d", len(c.Key), KeySize)
	case c.Now == nil || c.Rand == nil:
		return c, errors.New("no clock or no source of random numbers")
	}
	for _, t := range c.Tokens {
		if len(t.Secret) < minToken {
			return c, fmt.Errorf("token %q is shorter than %d bytes", t.Name, minToken)
		}
		for _, scope := range t.Scopes {
			if scope != ScopeRead && scope != ScopeOperate && scope != ScopeWorker {
				return c, fmt.Errorf("token %q: %q is not a scope", t.Name, scope)
			}
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Workers <= 0 {
		c.Workers = 2
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&c.VerifyTimeout, 30 * time.Minute}, {&c.RetryDelay, 2 * time.Second}, {&c.PollInterval, 30 * time.Second}} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	return c, nil
}
