package publish

import (
	"context"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/powernode/bootsmith/builder/fault"
	"golang.org/x/sync/errgroup"
)

// Options say where a build is published and by whom it is signed.
type Options struct {
	// Repository is "registry/path"; the platform's name becomes its last part.
	Repository string
	Access     Access
	Signer     *Signer
	// ChunkSize is the size, in bytes, of the pieces in which larger files are
	// sent; 0 means 32 MiB. It shrinks when a proxy takes less.
	ChunkSize int64
	// MountFrom is a repository of the same registry ("acme/images/other") that
	// may have some of the blobs already: those are not sent.
	MountFrom string
	// Run goes into the provenance.
	Run Run
	// Jobs is how many files are sent at once; 0 means 4.
	Jobs int
	// Cosign2 also writes signatures and attestations under the tags at which
	// cosign 2 looks.
	Cosign2 bool
	// Resume only goes on with a publish of this very build that was begun before:
	// see ReadAttempt.
	Resume bool
	// Progress, when set, is told what happens, by several goroutines at once.
	Progress func(Event)
}

// Publish pushes every artifact of a build, signs and attests it, and makes the
// build's index. It can be called again after any failure: what is there and
// valid stays as it is, so that an unchanged build sends no blob and gets the
// same digests.
//
// The order is such that the index's tag appears last, when everything that it
// names is in place and signed. When the signing services fail, what was pushed
// stays, and Options.Resume signs what lacks signatures.
func Publish(ctx context.Context, build Build, o Options) (*Publications, error) {
	if o.Signer == nil {
		return nil, fault.Inputf("publishing %q: no signer is given", build.Dir)
	}
	builds, arts, err := load(ctx, build)
	if err != nil {
		return nil, err
	}
	repo, err := o.Access.repository(o.Repository + "/" + builds[0].manifest.Platform)
	if err != nil {
		return nil, err
	}
	attempt := newAttempt(o.Repository, builds)
	if o.Resume {
		begun, err := ReadAttempt(build.Dir)
		if err != nil {
			return nil, err
		}
		if err := begun.same(build.Dir, attempt); err != nil {
			return nil, err
		}
	}
	p := newPusher(repo, build.Dir, o)
	// The first thing, which every manifest needs, shows that the registry takes
	// any: what can't be begun can't be resumed.
	if _, err := p.bytes(ctx, ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data); err != nil {
		return nil, err
	}
	if err := attempt.write(build.Dir); err != nil {
		return nil, err
	}
	manifests, err := p.push(ctx, arts)
	if err != nil {
		return nil, err
	}
	a, id, err := newAttester(ctx, p, o.Signer)
	if err != nil {
		return nil, err
	}
	if err := a.pushDisks(ctx, arts, manifests, o.Run); err != nil {
		return nil, err
	}
	pubs := &Publications{
		SchemaVersion: publicationVersion, Platform: builds[0].manifest.Platform, GitSHA: builds[0].manifest.GitSHA,
		Repository: repo.Reference.Registry + "/" + repo.Reference.Repository,
	}
	referrers, err := a.attestAll(ctx, pubs.Repository, arts, manifests, o.Run)
	if err != nil {
		return nil, err
	}
	if o.Cosign2 {
		if err := a.signAllSimple(ctx, pubs.Repository, arts, manifests, o.Run); err != nil {
			return nil, err
		}
	}
	for i, art := range arts {
		pubs.Publications = append(pubs.Publications, art.record(pubs.Repository, manifests[i], referrers[i], id))
	}
	pubs.Index, err = a.index(ctx, pubs.Repository, arts, manifests)
	return pubs, err
}

// push sends the files of all artifacts, and the manifests of those that need no
// signature in them. It returns the manifests in the artifacts' order, with gaps.
func (p *pusher) push(ctx context.Context, arts []*artifact) ([]packed, error) {
	manifests := make([]packed, len(arts))
	var all []file
	for i, art := range arts {
		var err error
		if manifests[i], err = art.pack(); err != nil {
			return nil, err
		}
		all = append(all, art.files...)
	}
	if err := p.blobs(ctx, all); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.jobs)
	for i, art := range arts {
		if manifests[i].raw != nil {
			g.Go(func() error { return p.manifest(ctx, manifests[i], art.tag(), art.String()) })
		}
	}
	return manifests, g.Wait()
}

// pack returns an artifact's manifest; that of a disk image is made later.
func (a *artifact) pack() (packed, error) {
	switch a.family.Name {
	case imageFamily:
		return a.image, nil
	case diskFamily:
		return packed{}, nil
	}
	return packArtifact(a)
}

// pushDisks makes and pushes the manifests that push has left out.
func (a *attester) pushDisks(ctx context.Context, arts []*artifact, manifests []packed, run Run) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, art := range arts {
		if manifests[i].raw != nil {
			continue
		}
		g.Go(func() (err error) {
			if manifests[i], err = a.diskManifest(ctx, art, run); err != nil {
				return err
			}
			return a.manifest(ctx, manifests[i], art.tag(), art.String())
		})
	}
	return g.Wait()
}

// attestAll makes all statements about all manifests; the result maps predicate
// types to referrers' digests, in the artifacts' order.
func (a *attester) attestAll(ctx context.Context, repository string, arts []*artifact, manifests []packed, run Run) ([]map[string]string, error) {
	out := make([]map[string]string, len(arts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(attestJobs)
	for i, art := range arts {
		g.Go(func() error {
			claims, err := art.claims(repository, manifests[i], run)
			if err != nil {
				return err
			}
			out[i], err = a.attest(ctx, manifests[i].desc, stamp(art.build.manifest.Created), art.String(), claims)
			return err
		})
	}
	return out, g.Wait()
}

// signAllSimple signs and attests all manifests for cosign 2.
func (a *attester) signAllSimple(ctx context.Context, repository string, arts []*artifact, manifests []packed, run Run) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(attestJobs)
	for i, art := range arts {
		g.Go(func() error {
			if err := a.signSimple(ctx, manifests[i].desc, art.String()); err != nil {
				return err
			}
			claims, err := art.claims(repository, manifests[i], run)
			if err != nil {
				return err
			}
			return a.attestSimple(ctx, manifests[i].desc, art.String(), claims)
		})
	}
	return g.Wait()
}

// claims are the statements about an artifact's manifest.
func (a *artifact) claims(repository string, m packed, run Run) ([]claim, error) {
	predicates := []struct {
		kind  string
		value any
	}{
		{PredicateSignature, struct{}{}},
		{PredicateSPDX, a.build.spdx},
		{PredicateCycloneDX, a.build.cyclonedx},
		{PredicateProvenance, a.provenance(run)},
		{PredicatePublication, a.publication()},
	}
	var claims []claim
	for _, p := range predicates {
		statement, err := newStatement(repository, m.desc.Digest.Encoded(), p.kind, p.value)
		if err != nil {
			return nil, fmt.Errorf("stating %s about %s: %w", p.kind, a, err)
		}
		claims = append(claims, claim{predicateType: p.kind, statement: statement})
	}
	return claims, nil
}

func (a *artifact) record(repository string, m packed, referrers map[string]string, id *identity) Publication {
	p := a.publication()
	return Publication{
		Arch: p.Arch, Family: p.ArtifactFamily, Tag: a.tag(),
		OCIRef: repository + "@" + m.desc.Digest.String(), OCIDigest: m.desc.Digest.String(),
		SHA256: p.SHA256, SizeBytes: p.SizeBytes, SBOMURL: "oci://" + repository + "@" + referrers[PredicateSPDX],
		ComposefsDigest: p.ComposefsDigest, RootHash: p.RootHash, BuildManifestSHA256: p.BuildManifestSHA256, BuiltAt: p.BuiltAt,
		CosignIdentity: id.name, CosignIssuer: id.issuer,
	}
}
