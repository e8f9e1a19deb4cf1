package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// pusher sends blobs and manifests to one repository.
type pusher struct {
	repo   *remote.Repository
	jobs   int
	report func(Event)
	// folder keeps the state of uploads; none when empty.
	folder string
	up     uploads
	size   atomic.Int64 // of pieces, in bytes
}

// newPusher returns a pusher to a repository.
func newPusher(repo *remote.Repository, folder string, o Options) *pusher {
	p := &pusher{repo: repo, jobs: o.Jobs, report: o.Progress, folder: folder}
	if p.jobs <= 0 {
		p.jobs = 4
	}
	if p.report == nil {
		p.report = func(Event) {}
	}
	p.up = uploads{repo: repo, wait: o.Access.wait(), wanted: o.ChunkSize, mount: o.MountFrom}
	if p.up.wanted <= 0 {
		p.up.wanted = defaultChunk
	}
	p.size.Store(p.up.wanted)
	return p
}

// blobs sends the files that the registry does not have, several at a time.
func (p *pusher) blobs(ctx context.Context, files []file) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.jobs)
	for _, f := range unique(files) {
		g.Go(func() error { return p.blob(ctx, f) })
	}
	return g.Wait()
}

// blob sends a file unless the registry has it or can take it from another
// repository; up to three times when it breaks.
func (p *pusher) blob(ctx context.Context, f file) error {
	desc := f.descriptor()
	name := p.name(f)
	has, err := p.repo.Blobs().Exists(ctx, desc)
	if err != nil {
		return remoteError(fmt.Errorf("looking for %q in %s: %w", name, p.repo.Reference, err))
	}
	if has {
		p.report(Event{Kind: Skipped, Name: name, Bytes: f.size, Total: f.size})
		return nil
	}
	for try := 1; ; try++ {
		kind, err := p.transfer(ctx, f, name)
		if err == nil {
			p.report(Event{Kind: kind, Name: name, Bytes: f.size, Total: f.size})
			return nil
		}
		if errors.Is(err, errChanged) {
			return fault.Inputf("sending %q: %w", f.path, err).WithFix("build again")
		}
		if try == 3 || ctx.Err() != nil || !transient(err) {
			return remoteError(fmt.Errorf("sending %q to %s: %w", name, p.repo.Reference, err))
		}
		if err := sleep(ctx, backoff(p.up.wait, try, nil)); err != nil {
			return err
		}
	}
}

// name is what a file is called in reports: its path below the build's folder.
func (p *pusher) name(f file) string {
	if rel, err := filepath.Rel(p.folder, f.path); err == nil && p.folder != "" {
		return filepath.ToSlash(rel)
	}
	return f.path
}

// transfer sends a file, and tells what became of it.
func (p *pusher) transfer(ctx context.Context, f file, name string) (Kind, error) {
	src, err := os.Open(f.path)
	if err != nil {
		return "", err
	}
	defer src.Close()
	keep := newStateFile(p.folder, p.repo.Reference.Registry+"/"+p.repo.Reference.Repository, f.sha256)
	c := &chunked{uploads: p.up, src: src, file: f, state: keep.read(), keep: keep, size: &p.size}
	if c.state.Location != "" && c.checkLocation(c.state.Location) != nil {
		c.state = uploadState{}
	}
	c.progress = func(sent int64) { p.report(Event{Kind: Pushing, Name: name, Bytes: sent, Total: f.size}) }
	err = c.send(ctx)
	if err == nil || errors.Is(err, errChanged) {
		err = errors.Join(err, keep.remove())
	}
	if c.mounted {
		return Mounted, err
	}
	return Pushed, err
}

// manifest puts a manifest under its digest and, with a tag, under that name,
// unless both are there.
func (p *pusher) manifest(ctx context.Context, m packed, tag, name string) error {
	ref := tag
	if ref == "" {
		ref = m.desc.Digest.String()
	}
	have, err := p.repo.Resolve(ctx, ref)
	if err == nil && have.Digest == m.desc.Digest {
		p.report(Event{Kind: Skipped, Name: name, Digest: m.desc.Digest.String()})
		return nil
	}
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return remoteError(fmt.Errorf("looking for %s in %s: %w", ref, p.repo.Reference, err))
	}
	if tag == "" {
		err = p.repo.Push(ctx, m.desc, bytes.NewReader(m.raw))
	} else {
		err = p.repo.PushReference(ctx, m.desc, bytes.NewReader(m.raw), tag)
	}
	if err = unlisted(err); err != nil {
		return remoteError(fmt.Errorf("pushing %s to %s: %w", name, p.repo.Reference, err))
	}
	p.report(Event{Kind: Pushed, Name: name, Digest: m.desc.Digest.String()})
	return nil
}

// referrer puts a manifest that is attached to another one, and sees to it that it
// is listed: without a referrers API clients write the list, and whoever attaches
// something at the same time may replace it by one without ours.
func (p *pusher) referrer(ctx context.Context, m packed, subject ocispec.Descriptor, name string) error {
	if err := p.manifest(ctx, m, "", name); err != nil {
		return err
	}
	for try := 1; ; try++ {
		list, err := listReferrers(ctx, p.repo, subject)
		if err != nil {
			return remoteError(fmt.Errorf("listing what is attached to %s in %s: %w", subject.Digest, p.repo.Reference, err))
		}
		if slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == m.desc.Digest }) {
			return nil
		}
		if try > listTries {
			return remoteError(fmt.Errorf("attaching %s to %s in %s: the registry does not list it", name, subject.Digest, p.repo.Reference))
		}
		if err := sleep(ctx, backoff(p.up.wait, min(try, tries), nil)); err != nil {
			return err
		}
		if err := unlisted(p.repo.Push(ctx, m.desc, bytes.NewReader(m.raw))); err != nil {
			return remoteError(fmt.Errorf("pushing %s to %s: %w", name, p.repo.Reference, err))
		}
	}
}

// listTries is how often a referrer is listed again.
const listTries = 10

// unlisted forgives a registry that allows no deletion: it keeps the old list of
// referrers beside the new one, which does no harm.
func unlisted(err error) error {
	var listing *remote.ReferrersError
	if errors.As(err, &listing) && listing.IsReferrersIndexDelete() {
		return nil
	}
	return err
}

// bytes sends a small blob that is in memory, again when the answer is lost.
func (p *pusher) bytes(ctx context.Context, mediaType string, raw []byte) (ocispec.Descriptor, error) {
	desc := content.NewDescriptorFromBytes(mediaType, raw)
	for try := 1; ; try++ {
		has, err := p.repo.Blobs().Exists(ctx, desc)
		if err == nil && !has {
			err = p.repo.Blobs().Push(ctx, desc, bytes.NewReader(raw))
		}
		if err == nil {
			return desc, nil
		}
		if try == tries || ctx.Err() != nil || !transient(err) {
			return desc, remoteError(fmt.Errorf("pushing %s to %s: %w", desc.Digest, p.repo.Reference, err))
		}
		if err := sleep(ctx, backoff(p.up.wait, try, nil)); err != nil {
			return desc, err
		}
	}
}

// transient tells whether an upload may succeed when begun again.
func transient(err error) bool {
	var no *refusal
	if errors.As(err, &no) && no.wait > longestAsked {
		return false
	}
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		return worthRetry(&http.Response{StatusCode: answer.StatusCode}, nil)
	}
	return worthRetry(nil, err)
}
