package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/initramfs"
	"github.com/powernode/bootsmith/builder/overlay"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/families"
)

// Plan says what will be built from what. It is plain data: the same plan
// gives the same bytes on any machine at any time.
type Plan struct {
	FormatVersion int    `json:"format_version"`
	Version       string `json:"version"`
	Platform      string `json:"platform"`
	// Revision is the definition's commit, or, where no repository tracks it,
	// the first 40 digits of the plan's seed.
	Revision string `json:"revision"`
	// Epoch is the one time stamp of the build, in seconds since 1970.
	Epoch            int64  `json:"epoch"`
	DefinitionSHA256 string `json:"definition_sha256"`
	// LockSHA256 is the digest of the lock that gave the inputs, "" for none.
	LockSHA256    string        `json:"lock_sha256,omitempty"`
	OverlayDigest string        `json:"overlay_digest"`
	ESPDigest     string        `json:"esp_digest"`
	Permissions   []spec.Access `json:"permissions"`
	Users         []spec.User   `json:"users,omitempty"`
	Families      []string      `json:"families"`
	DiskSize      int64         `json:"disk_size"`
	// Persist is a partition of disk images; nil means none.
	Persist *families.Persist `json:"persist,omitempty"`
	BaseURL string            `json:"base_url"`
	Boot    Boot              `json:"boot"`
	Targets []Target          `json:"targets"`
}

// Target is the part of a plan for one architecture.
type Target struct {
	Arch string `json:"arch"`
	// InitSHA256 is the digest of the init that the initramfs starts.
	InitSHA256 string   `json:"init_sha256"`
	Packages   Packages `json:"packages"`
	// Root is the root's source when it is not packages.
	Root *RootPin `json:"root,omitempty"`
	// KernelDigest is that of a kernel in files of the build host, with its
	// modules and device trees, "sha256:<hex>"; "" for other kernels.
	KernelDigest string `json:"kernel_digest,omitempty"`
	// Cmdline are the kernel parameters without the root's digests.
	Cmdline []string `json:"cmdline"`
}

// Packages are what a target takes from the archive.
type Packages struct {
	Suite string `json:"suite"`
	// ReleaseDate and ReleaseSHA256 are the release file's own date and digest.
	ReleaseDate   time.Time `json:"release_date"`
	ReleaseSHA256 string    `json:"release_sha256"`
	// Repositories are the states of the archive's further suites.
	Repositories []apt.Release `json:"repositories,omitempty"`
	// Root become the root, the kernel among them when its modules are kept
	// there. Kernel and Stub are unpacked for what boots.
	Root   []apt.Package `json:"root"`
	Kernel []apt.Package `json:"kernel"`
	Stub   []apt.Package `json:"stub"`
}

// Boot returns the packages that are unpacked for what boots.
func (p Packages) Boot() []apt.Package { return slices.Concat(p.Kernel, p.Stub) }

// Beside returns the packages that are no part of the root.
func (p Packages) Beside() []apt.Package { return without(p.Boot(), p.Root) }

// All returns all packages, each once.
func (p Packages) All() []apt.Package { return slices.Concat(p.Root, p.Beside()) }

// snapshot returns the release's date (RFC 3339), "" without packages.
func (p Packages) snapshot() string {
	if p.ReleaseDate.IsZero() {
		return ""
	}
	return p.ReleaseDate.UTC().Format(time.RFC3339)
}

// newest returns the date of the newest release.
func (p Packages) newest() time.Time {
	date := p.ReleaseDate
	for _, r := range p.Repositories {
		if r.Date.After(date) {
			date = r.Date
		}
	}
	return date
}

// without returns the packages of a list that aren't in another.
func without(list, other []apt.Package) []apt.Package {
	var rest []apt.Package
	for _, p := range list {
		if !slices.ContainsFunc(other, func(o apt.Package) bool { return o.SHA256 == p.SHA256 }) {
			rest = append(rest, p)
		}
	}
	return rest
}

// Request is what a command line adds to a definition.
type Request struct {
	File *spec.File
	// Architectures and Families replace the definition's when not empty.
	Architectures, Families []string
	// Revision replaces the commit of the definition's repository.
	Revision string
	// SourceDateEpoch is the variable's value; "" when unset.
	SourceDateEpoch string
	// Lock gives the packages; nil: they are looked up.
	Lock *Lock
	// Locked makes a lock that doesn't fit an error, a Drift. Otherwise it is
	// reported, and the packages are looked up.
	Locked bool
}

// NewPlan resolves a request: it loads the overlays and takes the packages from
// the lock, or picks them from the verified index. An interrupted plan says so,
// like an interrupted run.
func NewPlan(ctx context.Context, c Config, r Request) (_ *Plan, err error) {
	defer func() { err = explain(ctx, err) }()
	p, err := newPlan(ctx, c, r)
	var drift *Drift
	if r.Locked || !errors.As(err, &drift) {
		return p, err
	}
	c.Report(Event{Time: c.Now(), Stage: "lock", State: Progress, Detail: drift.Error() + "; looking everything up, until bootsmith lock is run"})
	old := r.Lock
	r.Lock = nil
	if p, err = newPlan(ctx, c, r); err != nil {
		return nil, err
	}
	for _, t := range p.Targets {
		if before := old.target(t.Arch); before != nil {
			if err := checkDowngrade(before.Packages, t.Packages); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func newPlan(ctx context.Context, c Config, r Request) (_ *Plan, err error) {
	p := &Plan{
		FormatVersion: FormatVersion, Version: Version, Platform: r.File.Name,
		DefinitionSHA256: r.File.SHA256, Permissions: r.File.Permissions, Users: r.File.Users, BaseURL: r.File.IPXE.BaseURL,
	}
	if l := r.Lock; l != nil {
		if causes := l.drift(r.File, r.architectures()); causes != nil {
			return nil, (&Drift{Path: LockPath(r.File), Causes: causes}).fault()
		}
		p.LockSHA256 = l.sha256
	}
	if p.DiskSize, err = r.File.Disk.Bytes(); err != nil {
		return nil, r.File.Bad("disk.size", "%v", err)
	}
	if p.Persist, err = newPersist(r.File); err != nil {
		return nil, err
	}
	if p.Families, err = pickFamilies(r); err != nil {
		return nil, err
	}
	if err = p.addOverlays(ctx, c, r.File); err != nil {
		return nil, err
	}
	if err = p.addBoot(ctx, c, r.File); err != nil {
		return nil, err
	}
	if err = p.addTargets(ctx, c, r); err != nil {
		return nil, err
	}
	commit, err := p.addEpoch(ctx, c, r)
	if err != nil {
		return nil, err
	}
	if err = p.pinRoots(ctx, c, r.File); err != nil {
		return nil, err
	}
	if err = p.pinKernels(ctx, c, r.File); err != nil {
		return nil, err
	}
	if err = p.checkSources(ctx, c, r); err != nil {
		return nil, err
	}
	return p, p.addRevision(commit, r)
}

func (p *Plan) addOverlays(ctx context.Context, c Config, f *spec.File) error {
	for _, x := range []struct {
		path   string
		digest *string
	}{{f.Files, &p.OverlayDigest}, {f.ESP, &p.ESPDigest}} {
		o, err := overlay.Load(ctx, f.Resolve(x.path), c.Store)
		if err != nil {
			return err
		}
		*x.digest = o.Digest()
	}
	return nil
}

// addTargets resolves the architectures side by side: each has an index of its
// own to read.
func (p *Plan) addTargets(ctx context.Context, c Config, r Request) error {
	names := r.architectures()
	p.Targets = make([]Target, len(names))
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { p.Targets[i], errs[i] = newTarget(ctx, c, r, name) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func newTarget(ctx context.Context, c Config, r Request, name string) (Target, error) {
	f := r.File
	a, err := arch.Lookup(name)
	if err != nil {
		return Target{}, fault.Inputf("%w", err)
	}
	init, err := initramfs.InitFor(a)
	if err != nil {
		return Target{}, err
	}
	sum := sha256.Sum256(init)
	t := Target{Arch: name, InitSHA256: hex.EncodeToString(sum[:])}
	for _, parameter := range f.Cmdline {
		t.Cmdline = append(t.Cmdline, f.Expand(parameter, a))
	}
	if p := f.Disk.Persist; p != nil {
		t.Cmdline = append(t.Cmdline, "bootsmith.persist="+p.Label)
	}
	if locked := r.Lock.target(name); locked != nil {
		t.Packages = locked.Packages
		return t, nil
	}
	archive, err := openArchive(c, f, a)
	if err != nil || archive == nil {
		return t, err
	}
	if t.Packages, err = resolve(ctx, archive, f, a, nil); err != nil {
		return Target{}, fmt.Errorf("resolving the packages of %s: %w", f.Path, err)
	}
	return t, nil
}

// stubPackage holds systemd's EFI stub, the frame of a unified kernel image.
const stubPackage = "systemd-boot-efi"

// resolve picks the packages of a definition; those of keep stay as they are,
// where they do.
func resolve(ctx context.Context, archive Archive, f *spec.File, a arch.Arch, keep []apt.Package) (Packages, error) {
	var kernel []string
	root := baseRequest(f)
	root.Keep = keep
	for _, name := range f.PackageArchive().Include {
		root.Names = append(root.Names, f.Expand(name, a))
	}
	if f.Kernel.Package != "" {
		kernel = []string{f.Expand(f.Kernel.Package, a)}
	}
	found, err := archive.ResolveEach(ctx, []apt.Request{
		root,
		// A kernel's meta package leads to the kernel and to tools that
		// install it; only the kernel is wanted.
		{Names: kernel, Follow: apt.Follow{Prefix: "linux-image-"}, Keep: keep},
		{Names: []string{stubPackage}, Follow: apt.Follow{None: true}, Keep: keep},
	})
	if err != nil {
		return Packages{}, err
	}
	first := found[0]
	if f.Kernel.Modules == spec.ModulesInRoot {
		first.Packages = slices.Concat(first.Packages, without(found[1].Packages, first.Packages))
	}
	return Packages{
		Suite: first.Suite, ReleaseDate: first.ReleaseDate, ReleaseSHA256: first.ReleaseSHA256, Repositories: first.Repositories,
		Root: first.Packages, Kernel: found[1].Packages, Stub: found[2].Packages,
	}, nil
}

// addEpoch sets the epoch and returns the definition's commit.
func (p *Plan) addEpoch(ctx context.Context, c Config, r Request) (Commit, error) {
	commit, err := FindCommit(ctx, c.Exec, r.File.Path)
	if err != nil {
		return commit, err
	}
	switch {
	case r.SourceDateEpoch != "":
		if p.Epoch, err = strconv.ParseInt(r.SourceDateEpoch, 10, 64); err != nil || p.Epoch < 0 {
			return commit, fault.Inputf("reading SOURCE_DATE_EPOCH %q: not a number of seconds", r.SourceDateEpoch)
		}
	case commit.Time > 0:
		p.Epoch = commit.Time
	default:
		for _, t := range p.Targets {
			created, err := rootDate(ctx, c, r.File, t)
			if err != nil {
				return commit, err
			}
			p.Epoch = max(p.Epoch, t.Packages.newest().Unix(), created)
		}
		if p.Epoch == 0 {
			return commit, fault.Inputf("choosing the build's time stamp: no input has a date").
				WithFix("set SOURCE_DATE_EPOCH, or track %s with git", r.File.Path)
		}
	}
	return commit, nil
}

// addRevision sets the revision.
func (p *Plan) addRevision(commit Commit, r Request) error {
	p.Revision = r.Revision
	if p.Revision == "" {
		p.Revision = commit.SHA
	}
	if p.Revision == "" {
		p.Revision = p.seed()[:40]
	}
	if !isRevision(p.Revision) {
		return fault.Inputf("reading the revision %q: not a commit", p.Revision).WithFix("give 7 to 64 hex digits")
	}
	return nil
}

func isRevision(s string) bool {
	return len(s) >= 7 && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// Digest returns the SHA-256 of the plan's JSON form, in hex.
func (p *Plan) Digest() string { return digestOf(p) }

// seed is the digest without the revision and without where the inputs were
// looked up: what identifiers inside artifacts are made from.
func (p *Plan) seed() string {
	q := *p
	q.Revision, q.LockSHA256 = "", ""
	return digestOf(&q)
}

func digestOf(p *Plan) string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // plain data always encodes
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ParsePlan reads a plan's JSON form.
func ParsePlan(data []byte) (*Plan, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var p Plan
	if err := dec.Decode(&p); err != nil {
		return nil, fmt.Errorf("reading a plan: %w", err)
	}
	if p.FormatVersion != FormatVersion {
		return nil, fmt.Errorf("reading a plan: its form has version %d, and this bootsmith knows %d", p.FormatVersion, FormatVersion)
	}
	return &p, nil
}

// time returns the epoch as a time.
func (p *Plan) time() time.Time { return time.Unix(p.Epoch, 0).UTC() }
