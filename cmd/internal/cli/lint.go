package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families/inspect"
	"github.com/powernode/bootsmith/publish"
)

// listRules prints the rules that --lint applies.
func listRules(env Env, asJSON bool) error {
	if asJSON {
		out := json.NewEncoder(env.Stdout)
		for _, r := range bootc.Rules() {
			if err := out.Encode(map[string]string{"rule": r.Name, "level": string(r.Level), "description": r.Description}); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, r := range bootc.Rules() {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, r.Level, r.Description)
	}
	return w.Flush()
}

// runLint checks the image in an OCI layout, in a build's folder or in a
// registry.
func runLint(ctx context.Context, env Env, flags inspectFlags, arg string) error {
	if isPath(arg) {
		dirs, err := layouts(arg)
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := lintLayout(ctx, env, flags, dir, dir); err != nil {
				return fault.Default(fault.Build, err)
			}
		}
		return nil
	}
	dir, err := os.MkdirTemp("", "bootsmith-lint-")
	if err != nil {
		return fault.Buildf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := pullForLint(ctx, env, flags, arg, dir); err != nil {
		return fault.Default(fault.Remote, err)
	}
	return fault.Default(fault.Remote, lintLayout(ctx, env, flags, dir, arg))
}

// layouts finds the OCI layouts in a folder: itself, or an architecture's or all
// of a build.
func layouts(dir string) ([]string, error) {
	for _, pattern := range []string{"oci-layout", "oci/oci-layout", "*/oci/oci-layout"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, fault.Inputf("looking for an OCI layout in %q: %w", dir, err)
		}
		for i := range found {
			found[i] = filepath.Dir(found[i])
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, fault.Inputf("looking for an OCI layout in %q: there is none", dir).WithFix("name a folder of the family oci")
}

// pullForLint pulls an image; it is verified before if there is a policy.
func pullForLint(ctx context.Context, env Env, flags inspectFlags, ref, dir string) error {
	access, err := flags.registry.access(env, ref)
	if err != nil {
		return err
	}
	look, err := publish.LookAt(ctx, access, ref)
	if err != nil {
		return err
	}
	if flags.identity == "" && flags.issuer == "" {
		fmt.Fprintf(env.Stderr, "warning: the signature of %s is %s\n", ref, notVerified)
		return publish.PullImage(ctx, access, ref, &look.Result, dir, 0)
	}
	policy, err := newPolicy(env, flags.verifyFlags)
	if err != nil {
		return err
	}
	r, err := publish.Verify(ctx, access, repositoryOf(ref)+"@"+look.Digest, policy)
	if err != nil {
		return fmt.Errorf("verifying %q: %w", ref, err)
	}
	return publish.PullImage(ctx, access, ref, r, dir, 0)
}

// lintLayout checks the image and prints what is wrong with it.
func lintLayout(ctx context.Context, env Env, flags inspectFlags, dir, name string) error {
	root, open, err := inspect.ImageRoot(ctx, dir, bootc.Reads)
	if err != nil {
		return err
	}
	findings, err := bootc.Lint(bootc.Image{Tree: root, Open: open}, flags.skip)
	if err != nil {
		return fault.Inputf("%w", err)
	}
	passed, warnings, fatal, skipped := 0, 0, 0, 0
	out := json.NewEncoder(env.Stdout)
	for _, f := range findings {
		switch {
		case f.Skipped:
			skipped++
		case len(f.Problems) == 0:
			passed++
		case f.Level == bootc.Warning:
			warnings++
		default:
			fatal++
		}
		if flags.json {
			if err := out.Encode(f); err != nil {
				return err
			}
			continue
		}
		printProblems(env, f)
	}
	if !flags.json {
		fmt.Fprintf(env.Stdout, "%s: %d rules passed, %d warnings, %d fatal, %d skipped\n", name, passed, warnings, fatal, skipped)
	}
	if fatal > 0 || flags.fatalWarnings && warnings > 0 {
		return fmt.Errorf("checking %q for bootc: %d rules are broken", name, fatal+warnings)
	}
	return nil
}

// maxProblems is how many problems of a rule are shown to people.
const maxProblems = 10

func printProblems(env Env, f bootc.Finding) {
	for i, p := range f.Problems {
		if i == maxProblems {
			fmt.Fprintf(env.Stdout, "%s: %s: and %d more\n", f.Level, f.Rule, len(f.Problems)-i)
			return
		}
		fmt.Fprintf(env.Stdout, "%s: %s: %s\n", f.Level, f.Rule, printable(p))
	}
}
