package publish

import (
	"context"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// attestJobs is how many manifests are attested at once, each with all its
// statements: signing mostly waits for the transparency log, which takes entries
// in batches.
const attestJobs = 6

// attester signs statements about manifests and attaches them.
type attester struct {
	*pusher
	signer *Signer
	// own accepts what signer would sign now as a referrer, ownFile as a bundle
	// beside a disk image.
	own, ownFile checker
}

func newAttester(ctx context.Context, p *pusher, s *Signer) (*attester, *identity, error) {
	id, err := s.identity(ctx)
	if err != nil {
		return nil, nil, err
	}
	a := &attester{pusher: p, signer: s}
	if a.own, err = s.own(id, false); err == nil {
		a.ownFile, err = s.own(id, true)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("preparing to verify as %s: %w", id.name, err)
	}
	return a, id, nil
}

// claim is a statement about a manifest, of a predicate type.
type claim struct {
	predicateType string
	statement     []byte
}

// attest makes sure that every claim about a manifest is signed and attached.
// It returns the referrers' digests by predicate type. Claims that a verified
// referrer of the same identity makes already are not signed again.
func (a *attester) attest(ctx context.Context, manifest ocispec.Descriptor, created, name string, claims []claim) (map[string]string, error) {
	subject, err := digestBytes(manifest.Digest)
	if err != nil {
		return nil, err
	}
	have, err := a.existing(ctx, manifest, subject)
	if err != nil {
		return nil, err
	}
	digests := make([]string, len(claims))
	attached := make([]packed, len(claims))
	g, gctx := errgroup.WithContext(ctx)
	for i, c := range claims {
		if digests[i] = have.find(c); digests[i] != "" {
			a.report(Event{Kind: Skipped, Name: name + ": " + c.predicateType, Digest: digests[i]})
			continue
		}
		g.Go(func() error {
			raw, err := a.signer.sign(gctx, statementPayload(c.statement, subject))
			if err != nil {
				return err
			}
			attached[i], err = a.attach(gctx, manifest, c.predicateType, created, raw)
			if err == nil {
				digests[i] = attached[i].desc.Digest.String()
				a.report(Event{Kind: Signed, Name: name + ": " + c.predicateType, Digest: digests[i]})
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := a.relist(ctx, manifest, claims, attached); err != nil {
		return nil, err
	}
	byType := map[string]string{}
	for i, c := range claims {
		byType[c.predicateType] = digests[i]
	}
	return byType, nil
}

// relist lists again what was attached and is listed no longer: where clients
// write the list themselves, another that publishes at the same time may have
// replaced it.
func (a *attester) relist(ctx context.Context, manifest ocispec.Descriptor, claims []claim, attached []packed) error {
	if !slices.ContainsFunc(attached, func(m packed) bool { return m.desc.Digest != "" }) {
		return nil
	}
	list, err := listReferrers(ctx, a.repo, manifest)
	if err != nil {
		return remoteError(fmt.Errorf("listing what is attached to %s in %s: %w", manifest.Digest, a.repo.Reference, err))
	}
	for i, m := range attached {
		if m.desc.Digest == "" || slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == m.desc.Digest }) {
			continue
		}
		if err := a.referrer(ctx, m, manifest, claims[i].predicateType); err != nil {
			return err
		}
	}
	return nil
}

// attach pushes a bundle as a referrer of a manifest, in the shape that cosign 3
// writes.
func (a *attester) attach(ctx context.Context, manifest ocispec.Descriptor, predicateType, created string, raw []byte) (packed, error) {
	layer, err := a.bytes(ctx, BundleMediaType, raw)
	if err != nil {
		return packed{}, err
	}
	m, err := pack(ocispec.Manifest{
		ArtifactType: BundleMediaType,
		Layers:       []ocispec.Descriptor{layer},
		Subject:      &ocispec.Descriptor{MediaType: manifest.MediaType, Digest: manifest.Digest, Size: manifest.Size},
		Annotations: map[string]string{
			annotationBundleContent:   "dsse-envelope",
			annotationBundlePredicate: predicateType,
			ocispec.AnnotationCreated: created,
		},
	})
	if err != nil {
		return packed{}, err
	}
	return m, a.referrer(ctx, m, manifest, predicateType)
}

// statements are verified statements and the referrers that hold them.
type statements []struct {
	payload []byte
	digest  string
}

func (s statements) find(c claim) string {
	for _, have := range s {
		if sameStatement(have.payload, c.statement) {
			return have.digest
		}
	}
	return ""
}

// existing returns what this identity has stated about a manifest before.
func (a *attester) existing(ctx context.Context, manifest ocispec.Descriptor, subject []byte) (statements, error) {
	found, err := bundlesOf(ctx, a.repo, manifest)
	if err != nil {
		return nil, remoteError(fmt.Errorf("looking for signatures of %s: %w", manifest.Digest, err))
	}
	var have statements
	for _, f := range found {
		v, err := a.own.check(f.bundle, subject)
		if err != nil || v.payload == nil {
			continue // somebody else's, or broken: sign anew beside it
		}
		have = append(have, struct {
			payload []byte
			digest  string
		}{v.payload, f.referrer.Digest.String()})
	}
	return have, nil
}
