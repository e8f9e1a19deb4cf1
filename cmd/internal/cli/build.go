package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/singleflight"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/image"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/store"
)

// MirrorVariable names the environment variable with the archive's base URL.
const MirrorVariable = "BOOTSMITH_DEBIAN_MIRROR"

// inputFlags are the flags of every verb that looks up what is built.
type inputFlags struct {
	file, cache, mirror, logFormat string
	offline                        bool
	maxAge                         time.Duration
	registry                       registryFlags
	// published is the repository that is published to afterwards, if known.
	published string
}

func (i *inputFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&i.file, "file", "f", spec.FileName, "platform definition, or its folder")
	f.StringVar(&i.cache, "cache-dir", "", "folder for downloads and file contents (default: the user's cache)")
	f.StringVar(&i.mirror, "mirror", "", "base URL of the package archive (default: the definition's, then "+MirrorVariable+", then the host's apt sources)")
	f.BoolVar(&i.offline, "offline", false, "use the cache only")
	f.DurationVar(&i.maxAge, "max-age", 24*time.Hour, "how long a cached package index is used before it is fetched again")
	i.registry.register(c)
	registerLogFormat(f, &i.logFormat)
}

// open reads the definition and makes the configuration.
func (i *inputFlags) open(env Env) (*spec.File, builder.Config, error) {
	file, err := spec.Read(i.file)
	if err != nil {
		return nil, builder.Config{}, err
	}
	if err := checkLogFormat(i.logFormat); err != nil {
		return nil, builder.Config{}, err
	}
	if i.maxAge < 0 {
		return nil, builder.Config{}, fault.Inputf("reading --max-age %s: it is negative", i.maxAge).WithFix("give 0s to ask the mirror every time")
	}
	i.published = firstOf(i.published, env.Getenv(RepositoryVariable), file.Publish.Repository)
	config, err := newConfig(env, *i)
	return file, config, err
}

// planFlags are the flags of every verb that plans a build.
type planFlags struct {
	inputFlags
	revision         string
	arches, families []string
	locked           bool
	secureBoot       secureBootFlags
	stages           stageFlags
}

func (p *planFlags) register(c *cobra.Command) {
	p.inputFlags.register(c)
	f := c.Flags()
	f.StringSliceVar(&p.arches, "arch", nil, "architectures to build (default: the definition's)")
	f.StringSliceVar(&p.families, "variants", nil, "families to build (default: the definition's)")
	f.StringVar(&p.revision, "git-sha", "", "commit to record (default: the definition's repository)")
	f.BoolVar(&p.locked, "locked", false, "fail unless platform.lock is there and fits the definition")
	p.secureBoot.register(f)
	p.stages.register(f)
}

// plan reads the definition, plans its build and hands all of it to use. A lock
// is used when it is there and fits.
func (p planFlags) plan(ctx context.Context, env Env, use func(*spec.File, builder.Config, *builder.Plan) error) (err error) {
	file, config, err := p.open(env)
	if err != nil {
		return err
	}
	if config.SecureBoot, err = newSecureBoot(env, p.secureBoot, file); err != nil {
		return err
	}
	lock, err := readLock(file, p.locked)
	if err != nil {
		return err
	}
	closeCache, err := p.stages.open(ctx, env, p.inputFlags, &config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeCache()) }()
	plan, err := builder.NewPlan(ctx, config, builder.Request{
		File: file, Architectures: p.arches, Families: p.families,
		Revision: p.revision, SourceDateEpoch: env.Getenv("SOURCE_DATE_EPOCH"),
		Lock: lock, Locked: p.locked,
	})
	if err != nil {
		return err
	}
	return use(file, config, plan)
}

// buildFlags are the flags of every verb that builds.
type buildFlags struct {
	planFlags
	output string
	jobs   int
}

func (b *buildFlags) register(c *cobra.Command) {
	b.planFlags.register(c)
	f := c.Flags()
	f.StringVarP(&b.output, "output-dir", "o", "build", "folder for <arch>/<family>/…")
	b.stages.registerRemotes(f)
	f.IntVarP(&b.jobs, "jobs", "j", runtime.NumCPU(), "stages to run at a time")
}

func newBuild(env Env) *cobra.Command {
	var flags buildFlags
	c := &cobra.Command{
		Use:   "build",
		Short: "Build the artifacts of a definition",
		Long: `Builds every family for every architecture of the definition into
<output-dir>/<arch>/. The folders appear whole or not at all.

Packages and digests are those of platform.lock, if that is there and fits the
definition; see bootsmith lock. With --locked, anything else is an error.`,
		Example: "  bootsmith build\n  bootsmith build --locked --offline\n  bootsmith build --arch arm64 --variants raw,iso --output-dir out",
		RunE: func(c *cobra.Command, _ []string) error {
			manifests, err := runBuild(c.Context(), env, flags)
			if err != nil {
				return fault.Default(fault.Build, err)
			}
			return printBuilt(env, flags.output, manifests)
		},
	}
	flags.register(c)
	return c
}

func runBuild(ctx context.Context, env Env, flags buildFlags) (built []*manifest.Manifest, err error) {
	if flags.jobs < 1 {
		return nil, fault.Inputf("reading --jobs %d: no stage could run", flags.jobs).WithFix("give 1 or more, or leave it out")
	}
	err = flags.plan(ctx, env, func(file *spec.File, config builder.Config, plan *builder.Plan) (err error) {
		config.Jobs = flags.jobs
		built, err = builder.Run(ctx, config, file, plan, flags.output)
		return err
	})
	return built, err
}

func newConfig(env Env, flags inputFlags) (builder.Config, error) {
	cache, err := cacheDir(env, flags.cache)
	if err != nil {
		return builder.Config{}, err
	}
	objects, err := store.Open(filepath.Join(cache, "objects"))
	if err != nil {
		return builder.Config{}, fault.Buildf("opening the cache: %w", err).WithFix("give another folder with --cache-dir")
	}
	joint := new(singleflight.Group) // fetch, kernel, root and several architectures ask for the same packages
	return builder.Config{
		Archive: func(f *spec.File, a arch.Arch) (builder.Archive, error) {
			archive, err := newArchive(env, flags, cache, f, a)
			if err != nil {
				return nil, err
			}
			archive.Joint = joint
			return archive, nil
		},
		Images: func(repository string) (image.Blobs, error) {
			return newImages(env, flags, cache, repository)
		},
		Store: objects, Exec: execProgram, Now: env.Now,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), SearchPath: env.Getenv("PATH"), Host: newHost(env),
		Report: newReporter(env, flags.logFormat),
	}, nil
}

// cacheDir returns the cache's folder: the flag's, or bootsmith in the user's
// cache folder (XDG Base Directory Specification).
func cacheDir(env Env, flag string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	if dir := env.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "bootsmith"), nil
	}
	if home := env.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "bootsmith"), nil
	}
	return "", fault.Inputf("finding the cache folder: neither XDG_CACHE_HOME nor HOME is set").WithFix("give --cache-dir")
}

func newArchive(env Env, flags inputFlags, cache string, f *spec.File, a arch.Arch) (*apt.Archive, error) {
	p := f.PackageArchive()
	override := firstOf(flags.mirror, env.Getenv(MirrorVariable))
	mirror, err := apt.ChooseMirror(p.Mirror, override, p.Suite, os.DirFS(env.HostRoot))
	if err != nil && !flags.offline { // what is locked and in the cache needs none
		return nil, err
	}
	var repositories []apt.Repository
	for _, r := range p.Repositories {
		repositories = append(repositories, apt.Repository{Mirror: r.Mirror, Suite: r.Suite, Components: r.Components, Keyring: f.Resolve(r.Keyring)})
	}
	limits, err := builder.Limits(f)
	if err != nil {
		return nil, err
	}
	return &apt.Archive{
		Limits: limits,
		Mirror: mirror, Suite: p.Suite, Components: p.Components, Keyring: f.Resolve(p.Keyring),
		Repositories: repositories, Field: f.ArchiveField(),
		Arch: a, CacheDir: cache, Client: http.DefaultClient, Now: env.Now,
		MaxAge: flags.maxAge, Offline: flags.offline,
	}, nil
}

// newImages returns a repository of container images, with a cache before it.
func newImages(env Env, flags inputFlags, cache, repository string) (image.Blobs, error) {
	blobs := image.Cache{Dir: filepath.Join(cache, "images")}
	if flags.offline {
		return blobs, nil
	}
	repo, err := flags.registry.images(env, repository, flags.published)
	if err != nil {
		return nil, err
	}
	blobs.Next = repo
	return blobs, nil
}

func execProgram(ctx context.Context, dir string, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	return cmd.Output()
}

func printBuilt(env Env, output string, manifests []*manifest.Manifest) error {
	for _, m := range manifests {
		for _, f := range m.Families {
			file := m.Artifacts[f.Main]
			path := filepath.Join(output, m.Arch, filepath.FromSlash(f.Main))
			if _, err := fmt.Fprintf(env.Stdout, "%s  %s  %d\n", file.SHA256, path, file.SizeBytes); err != nil {
				return err
			}
		}
	}
	return nil
}
