package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/compare"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/families/inspect"
)

// errDiffer ends diff --exit-code when there are differences: the exit code tells
// that, and no message.
var errDiffer = errors.New("the two differ")

// diffFlags are those of verify, which say who is believed, and more.
type diffFlags struct {
	verifyFlags
	exitCode, files bool
}

func newDiff(env Env) *cobra.Command {
	var flags diffFlags
	c := &cobra.Command{
		Use:   "diff A B",
		Short: "Tell how two plans, locks, builds or published artifacts differ",
		Long: `Compares two plans (what plan --json printed), two locks, two folders that build
wrote, or two references in a registry, and also one kind with another as far as
both tell the same: packages, kernel command line and version, users and groups,
the root's files with mode, owner, size and content, artifacts with size and
digest.

Of a reference, packages and command line are what its provenance says. That is
verified when a trust root and both patterns are given. The root's files are read
from a root image or an image's layers, which is pulled only when the roots'
digests differ; --files=false leaves them out.

With --exit-code, differences end with the code 1.`,
		Example: `  bootsmith diff old/platform.lock platform.lock
  bootsmith diff build-old build
  bootsmith diff --exit-code yesterday.json <(bootsmith plan --json)
  bootsmith diff registry.example.com/acme/images/minimal:0123abc build`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return fault.Default(fault.Build, runDiff(c.Context(), env, flags, args))
		},
	}
	f := c.Flags()
	flags.registerTrust(f)
	flags.registry.register(c)
	f.BoolVar(&flags.json, "json", false, "print one JSON object")
	f.BoolVar(&flags.exitCode, "exit-code", false, "end with the code 1 when the two differ")
	f.BoolVar(&flags.files, "files", true, "compare the roots' files")
	return c
}

func runDiff(ctx context.Context, env Env, flags diffFlags, args []string) error {
	scratch, err := os.MkdirTemp("", "bootsmith-diff-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(scratch)
	var sources [2]diffSource
	for i, arg := range args {
		if sources[i], err = openDiffSource(ctx, env, flags, arg, filepath.Join(scratch, fmt.Sprint(i))); err != nil {
			return err
		}
	}
	subjects, err := readSubjects(ctx, flags.files, sources)
	if err != nil {
		return err
	}
	report := compare.Diff(subjects[0], subjects[1])
	if flags.json {
		err = printJSON(env, report)
	} else {
		err = report.WriteText(env.Stdout)
	}
	if err == nil && flags.exitCode && !report.Equal() {
		err = errDiffer
	}
	return err
}

// diffSource is one of the two: a subject that is complete, or builds whose
// roots are opened when that is necessary.
type diffSource struct {
	name    string
	subject *compare.Subject
	builds  []diffBuild
}

// diffBuild is a build for an architecture.
type diffBuild struct {
	compare.Built
	root func(ctx context.Context) (*inspect.Root, error)
}

// openDiffSource opens a path, if there is one of that name, else a reference.
func openDiffSource(ctx context.Context, env Env, flags diffFlags, arg, scratch string) (diffSource, error) {
	if !isPath(arg) {
		builds, err := openDiffRef(ctx, env, flags, arg, scratch)
		return diffSource{name: arg, builds: builds}, fault.Default(fault.Remote, err)
	}
	info, err := os.Stat(arg)
	if err != nil {
		return diffSource{}, fault.Inputf("comparing %q: %w", arg, err)
	}
	if info.IsDir() {
		builds, err := openDiffDir(arg)
		return diffSource{name: arg, builds: builds}, err
	}
	subject, err := readDiffFile(arg)
	return diffSource{name: arg, subject: subject}, err
}

// maxDiffFile bounds a plan or lock, in bytes.
const maxDiffFile = 64 << 20

// readDiffFile reads a lock or a plan.
func readDiffFile(name string) (*compare.Subject, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.Inputf("comparing %q: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDiffFile+1))
	if err == nil && len(data) > maxDiffFile {
		err = fmt.Errorf("larger than %d bytes", maxDiffFile)
	}
	var subject compare.Subject
	if err == nil {
		subject, err = parseDiffFile(name, data)
	}
	if err != nil {
		return nil, fault.Inputf("comparing %q: %w", name, err).WithFix("name a lock, what plan --json printed, a folder that build wrote, or a reference")
	}
	return &subject, nil
}

func parseDiffFile(name string, data []byte) (compare.Subject, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return compare.Subject{}, err
	}
	if _, ok := keys["asked"]; ok {
		lock, err := builder.ParseLock(data)
		if err != nil {
			return compare.Subject{}, err
		}
		return compare.Lock(name, lock), nil
	}
	plan, err := builder.ParsePlan(data)
	if err != nil {
		return compare.Subject{}, err
	}
	return compare.Plan(name, plan), nil
}

// openDiffDir opens the folder that build wrote, or one architecture's in it.
func openDiffDir(dir string) ([]diffBuild, error) {
	dirs, err := archDirs(dir)
	if err != nil {
		return nil, err
	}
	var builds []diffBuild
	for _, d := range dirs {
		m, err := manifest.Read(d.path)
		if err != nil {
			return nil, fault.Inputf("%w", err).WithFix("name a folder that build wrote")
		}
		builds = append(builds, diffBuild{compare.Built{Manifest: m}, func(ctx context.Context) (*inspect.Root, error) {
			return inspect.OpenRoot(ctx, d.path, d.arch, compare.AccountFiles)
		}})
	}
	return builds, nil
}

// readSubjects reads what is compared. Roots are opened when both sides have
// one, and not the same.
func readSubjects(ctx context.Context, files bool, sources [2]diffSource) (subjects [2]compare.Subject, err error) {
	var roots []*inspect.Root
	defer func() {
		for _, r := range roots {
			err = errors.Join(err, r.Close())
		}
	}()
	if files {
		for _, a := range arch.Names() {
			pair := [2]*diffBuild{sources[0].build(a), sources[1].build(a)}
			if pair[0] == nil || pair[1] == nil || pair[0].Manifest.ComposefsDigest == pair[1].Manifest.ComposefsDigest {
				continue
			}
			for _, b := range pair {
				root, err := b.root(ctx)
				if err != nil {
					return subjects, err
				}
				roots = append(roots, root)
				b.Tree, b.Open = root.Tree, root.Open
			}
		}
	}
	for i, s := range sources {
		if subjects[i], err = s.read(); err != nil {
			return subjects, err
		}
	}
	return subjects, nil
}

// build returns the build for an architecture, nil when there is none.
func (s *diffSource) build(name string) *diffBuild {
	for i := range s.builds {
		if s.builds[i].Manifest.Arch == name {
			return &s.builds[i]
		}
	}
	return nil
}

func (s *diffSource) read() (compare.Subject, error) {
	if s.subject != nil {
		return *s.subject, nil
	}
	var built []compare.Built
	for _, b := range s.builds {
		built = append(built, b.Built)
	}
	return compare.Build(s.name, built)
}
