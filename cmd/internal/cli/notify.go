package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/callback"
	"github.com/powernode/bootsmith/publish"
)

// Environment variables of the webhook.
const (
	WebhookURLVariable    = "BOOTSMITH_WEBHOOK_URL"
	WebhookSecretVariable = "BOOTSMITH_WEBHOOK_SECRET"
)

// outboxName is the folder with undelivered events, in the output folder.
const outboxName = "outbox"

// notifyFlags are the flags of every verb that tells the platform.
type notifyFlags struct {
	url, secretFile string
}

func (n *notifyFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&n.url, "webhook-url", "", "the platform's webhook (default: "+WebhookURLVariable+")")
	c.Flags().StringVar(&n.secretFile, "webhook-secret-file", "", "file with the webhook's secret (default: the value of "+WebhookSecretVariable+")")
}

func newNotify(env Env) *cobra.Command {
	var flags notifyFlags
	var output string
	c := &cobra.Command{
		Use:   "notify",
		Short: "Tell the platform what was published",
		Long: `Sends one signed event per artifact in publication.json to the platform's
webhook, and before them whatever the outbox still holds. Events that could not
be delivered stay in <output-dir>/outbox; running notify again sends them.`,
		Example: "  BOOTSMITH_WEBHOOK_SECRET=… bootsmith notify --webhook-url https://platform.example.com/api/v1/system/webhooks/disk_image_built",
		RunE: func(c *cobra.Command, _ []string) error {
			pubs, err := publish.ReadPublications(output)
			if err != nil {
				return err
			}
			return fault.Default(fault.Callback, runNotify(c.Context(), env, flags, output, pubs))
		},
	}
	c.Flags().StringVarP(&output, "output-dir", "o", "build", "folder that build wrote")
	flags.register(c)
	return c
}

// runNotify flushes the outbox and sends an event per publication.
func runNotify(ctx context.Context, env Env, flags notifyFlags, output string, pubs *publish.Publications) error {
	sender, err := newSender(env, flags, output)
	if err != nil {
		return err
	}
	done, err := flushOutbox(ctx, sender)
	if err != nil && !refused(err) {
		return err
	}
	errs := []error{err}
	for _, p := range pubs.Publications {
		if done[p.OCIRef] {
			continue
		}
		e, err := newEvent(pubs, p)
		if err != nil {
			return err
		}
		r, err := sender.Send(ctx, e)
		if err != nil {
			errs = append(errs, fmt.Errorf("telling the platform of %s %s: %w", p.Arch, p.Family, err))
			if ctx.Err() != nil || !refused(err) {
				break // nobody is there: the rest would wait just as long
			}
			continue
		}
		fmt.Fprintf(env.Stderr, "%-28s           %s %s: %s\n", "notify", p.Arch, p.Family, r.Status)
	}
	return errors.Join(errs...)
}

// flushOutbox resends what the outbox holds. It returns the references that have
// had their turn: those that were taken, and those that were refused again.
func flushOutbox(ctx context.Context, sender *callback.Sender) (map[string]bool, error) {
	done := map[string]bool{}
	resent, err := sender.Flush(ctx)
	for _, s := range resent {
		done[s.Event.OCIRef] = true
	}
	held, herr := sender.Pending()
	for _, e := range held {
		done[e.OCIRef] = true
	}
	if err == nil {
		err = herr
	}
	return done, err
}

// refused tells whether the platform answered and said no.
func refused(err error) bool {
	var e *callback.Error
	return errors.As(err, &e) && !e.Retriable()
}

func newSender(env Env, flags notifyFlags, output string) (*callback.Sender, error) {
	url := firstOf(flags.url, env.Getenv(WebhookURLVariable))
	if url == "" {
		return nil, fault.Inputf("preparing to notify: no webhook is named").WithFix("give --webhook-url or set %s", WebhookURLVariable)
	}
	secret, err := readSecret(env, flags.secretFile)
	if err != nil {
		return nil, err
	}
	return &callback.Sender{
		URL: url, Secret: secret, Now: env.Now, Jitter: rand.Float64,
		Outbox: filepath.Join(output, outboxName), Timeout: 30 * time.Second,
	}, nil
}

// maxSecret bounds a secret's file, in bytes.
const maxSecret = 4096

func readSecret(env Env, path string) (callback.Secret, error) {
	text := env.Getenv(WebhookSecretVariable)
	if path != "" {
		f, err := os.Open(path)
		if err != nil {
			return "", fault.Inputf("reading the webhook's secret: %w", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxSecret))
		if err != nil {
			return "", fault.Inputf("reading the webhook's secret: %w", err)
		}
		text = strings.TrimSpace(string(b))
	}
	secret := callback.Secret(text)
	if err := secret.Check(); err != nil {
		return "", fault.Inputf("preparing to notify: %w", err).WithFix("give --webhook-secret-file or set %s", WebhookSecretVariable)
	}
	return secret, nil
}

func newEvent(pubs *publish.Publications, p publish.Publication) (callback.Event, error) {
	built, err := time.Parse(time.RFC3339, p.BuiltAt)
	if err != nil {
		return callback.Event{}, fault.Inputf("reading built_at of %s %s: %w", p.Arch, p.Family, err)
	}
	return callback.Event{
		PlatformName: pubs.Platform, GitSHA: pubs.GitSHA, Arch: p.Arch, OCIRef: p.OCIRef,
		SHA256: p.SHA256, SizeBytes: p.SizeBytes,
		ArtifactFamily: p.Family, BuiltAt: built, OCIDigest: p.OCIDigest, SBOMURL: p.SBOMURL,
		CosignIdentity: p.CosignIdentity, CosignIssuer: p.CosignIssuer,
		ComposefsDigest: p.ComposefsDigest, RootHash: p.RootHash, BuildManifestSHA256: p.BuildManifestSHA256,
	}, nil
}
