package publish

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// services are the signing services of a signing configuration.
type services struct {
	fulcio root.Service
	logs   []root.Service
	tsas   []root.Service
	keyed  bool // signatures are made with a key that doesn't expire
}

// selectServices picks what is valid now, newest API first, as the signing
// configuration asks. Who signs with a key of their own needs no certificate
// authority.
func selectServices(c *root.SigningConfig, now time.Time, keyed bool) (services, error) {
	s := services{keyed: keyed}
	var err error
	if !keyed {
		if s.fulcio, err = root.SelectService(c.FulcioCertificateAuthorityURLs(), sign.FulcioAPIVersions, now); err != nil {
			return s, fmt.Errorf("choosing a certificate authority: %w", err)
		}
	}
	if urls := c.RekorLogURLs(); len(urls) > 0 {
		if s.logs, err = root.SelectServices(urls, c.RekorLogURLsConfig(), sign.RekorAPIVersions, now); err != nil {
			return s, fmt.Errorf("choosing a transparency log: %w", err)
		}
	}
	if urls := c.TimestampAuthorityURLs(); len(urls) > 0 {
		if s.tsas, err = root.SelectServices(urls, c.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions, now); err != nil {
			return s, fmt.Errorf("choosing a timestamp authority: %w", err)
		}
	}
	if len(s.logs)+len(s.tsas) == 0 && !keyed {
		return s, fmt.Errorf("the signing configuration names neither a transparency log nor a timestamp authority: nothing would prove when a signature was made")
	}
	return s, nil
}

// clients talk to the services within one context.
type clients struct {
	fulcio *sign.Fulcio
	tsas   []*sign.TimestampAuthority
	logs   []sign.Transparency
}

func (s services) clients(ctx context.Context, base http.RoundTripper) clients {
	transport := &retrier{base: base, ctx: ctx, refuse: true, wait: firstWait}
	c := clients{fulcio: sign.NewFulcio(&sign.FulcioOptions{BaseURL: s.fulcio.URL, Timeout: -1, Transport: transport})}
	for _, t := range s.tsas {
		c.tsas = append(c.tsas, sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: t.URL, Timeout: -1, Transport: transport}))
	}
	for _, l := range s.logs {
		// A refused entry is final here: 409 means that the log has the
		// signature already, and signing again makes another.
		client := &rekorV2{url: l.URL, client: &http.Client{Transport: transport}}
		c.logs = append(c.logs, sign.NewRekor(&sign.RekorOptions{
			BaseURL: l.URL, Version: l.MajorAPIVersion, ClientV2: client, Timeout: answerWithin, Retries: tries - 1,
		}))
	}
	return c
}

// omissible tells whether the entry of a log can be left out of a bundle: it is
// of a version that older clients can't read, and the time is given by something
// else or needed by nobody.
func (s services) omissible(log int) bool {
	return (s.keyed || len(s.tsas) > 0) && s.logs[log].MajorAPIVersion >= 2
}
