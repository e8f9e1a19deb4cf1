// Package registry reads the blobs of container images from registries. It is
// apart from package image so that what only builds links no registry client.
package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/powernode/bootsmith/builder/fault"
)

// Repository is a repository of a registry. It implements image.Blobs. Errors
// are of class fault.Remote.
type Repository struct {
	repo   name.Repository
	puller *remote.Puller
}

// Options say how registries are reached.
type Options struct {
	// Keychain knows the credentials.
	Keychain authn.Keychain
	// Transport sends the requests.
	Transport http.RoundTripper
	// PlainHTTP speaks HTTP to any registry, not to those on loopback only.
	PlainHTTP bool
}

// Open returns a repository, registry.example.com/path.
func Open(repository string, o Options) (*Repository, error) {
	var names []name.Option
	base := o.Transport
	if o.PlainHTTP {
		names = append(names, name.Insecure)
	} else {
		base = encrypted{base}
	}
	repo, err := name.NewRepository(repository, names...)
	if err != nil {
		return nil, fault.Inputf("reading the repository %q: %w", repository, err).WithFix("write it as registry.example.com/path")
	}
	puller, err := remote.NewPuller(remote.WithAuthFromKeychain(o.Keychain), remote.WithTransport(base), remote.WithUserAgent("bootsmith"))
	if err != nil {
		return nil, fmt.Errorf("reading the repository %q: %w", repository, err)
	}
	return &Repository{repo, puller}, nil
}

// Manifest implements image.Blobs. The client bounds what it reads.
func (r *Repository) Manifest(ctx context.Context, digest v1.Hash) (io.ReadCloser, error) {
	d, err := r.puller.Get(ctx, r.repo.Digest(digest.String()))
	if err != nil {
		return nil, r.explain(digest, err)
	}
	return io.NopCloser(bytes.NewReader(d.Manifest)), nil
}

// Blob implements image.Blobs.
func (r *Repository) Blob(ctx context.Context, digest v1.Hash, _ int64) (io.ReadCloser, error) {
	l, err := r.puller.Layer(ctx, r.repo.Digest(digest.String()))
	if err != nil {
		return nil, r.explain(digest, err)
	}
	content, err := l.Compressed()
	if err != nil {
		return nil, r.explain(digest, err)
	}
	return &body{content, r, digest}, nil
}

// explain gives an error its class and, where it is known, the remedy.
func (r *Repository) explain(digest v1.Hash, err error) error {
	remoteErr := &fault.Error{Class: fault.Remote, Err: fmt.Errorf("fetching %s@%s: %w", r.repo.Name(), digest, err)}
	var status *transport.Error
	if errors.As(err, &status) {
		switch status.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return remoteErr.WithFix("log in, for example with docker login %s", r.repo.RegistryStr())
		case http.StatusNotFound:
			return remoteErr.WithFix("check the repository and the digest of root.image.reference")
		}
	}
	return remoteErr
}

// body gives errors in the middle of a blob their class.
type body struct {
	io.ReadCloser
	repo   *Repository
	digest v1.Hash
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = b.repo.explain(b.digest, err)
	}
	return n, err
}
