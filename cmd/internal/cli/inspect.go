package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families/inspect"
)

// inspectFlags are those of verify, which say who is believed, and more.
type inspectFlags struct {
	verifyFlags
	lint, listRules, fatalWarnings bool
	format                         string
	skip                           []string
}

func newInspect(env Env) *cobra.Command {
	var flags inspectFlags
	c := &cobra.Command{
		Use:   "inspect PATH|DIR|REF…",
		Short: "Tell what an artifact is by opening it; check an image for bootc",
		Long: `Opens artifacts, whatever their names, and tells what they are and what is in
them: partitions, file systems, EFI programs with their command lines, root
images with their digests computed again, archives, SBOMs, OCI images, folders
that build wrote. Of a reference in a registry it tells the manifest, the layers
and what is attached: signatures, who made them, SBOMs; of a build's index, so of
every artifact in it. Signatures are verified when a trust root and both patterns
are given; without them, the output says that nothing is verified.

With --lint, the root of an OCI image is checked by the fourteen rules of
"bootc container lint", under their names and without a container runtime.`,
		Example: `  bootsmith inspect build/amd64/raw/minimal-amd64.img
  bootsmith inspect --lint --fatal-warnings build/amd64/oci
  bootsmith inspect --format tree registry.example.com/acme/images/minimal:0123abc`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			return runInspect(c.Context(), env, flags, args)
		},
	}
	f := c.Flags()
	flags.registerTrust(f)
	f.StringVar(&flags.format, "format", "text", "text, tree (one line for each thing) or json (one object per argument)")
	f.BoolVar(&flags.json, "json", false, "the same as --format json")
	f.BoolVar(&flags.lint, "lint", false, "check an OCI image by the rules of bootc container lint")
	f.BoolVar(&flags.fatalWarnings, "fatal-warnings", false, "with --lint: let warnings fail, too")
	f.StringSliceVar(&flags.skip, "skip", nil, "with --lint: rules to leave out")
	f.BoolVar(&flags.listRules, "list", false, "with --lint: list the rules and end")
	flags.registry.register(c)
	return c
}

func runInspect(ctx context.Context, env Env, flags inspectFlags, args []string) error {
	switch flags.format {
	case "json":
		flags.json = true
	case "text", "tree":
	default:
		return fault.Inputf("reading --format: %q is unknown", flags.format).WithFix("write text, tree or json")
	}
	if flags.listRules {
		return listRules(env, flags.json)
	}
	if len(args) == 0 {
		return fault.Inputf("inspecting nothing").WithFix("name a file, a folder or a reference")
	}
	for _, arg := range args {
		if flags.lint {
			if err := runLint(ctx, env, flags, arg); err != nil {
				return err
			}
			continue
		}
		report, err := inspectOne(ctx, env, flags, arg)
		if err != nil {
			return err
		}
		if err := printReport(env, flags, report); err != nil {
			return err
		}
	}
	return nil
}

// inspectOne inspects a path, if there is one of that name, else a reference.
func inspectOne(ctx context.Context, env Env, flags inspectFlags, arg string) (inspect.Report, error) {
	if isPath(arg) {
		report, err := inspect.Path(ctx, arg)
		return report, fault.Default(fault.Build, err)
	}
	report, err := inspectRef(ctx, env, flags, arg)
	return report, fault.Default(fault.Remote, err)
}

// isPath tells a path from a reference: what begins like a path or exists is one.
func isPath(arg string) bool {
	if strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, ".") {
		return true
	}
	_, err := os.Stat(arg)
	return err == nil
}

func printReport(env Env, flags inspectFlags, r inspect.Report) error {
	switch {
	case flags.json:
		return json.NewEncoder(env.Stdout).Encode(r)
	case flags.format == "tree":
		return writeTree(env.Stdout, r, "", "")
	}
	return writeReport(env.Stdout, r, "")
}

// writeReport writes a report as an indented tree.
func writeReport(w io.Writer, r inspect.Report, indent string) error {
	line := indent + printable(r.Name) + "  " + printable(r.Kind)
	if r.Size > 0 {
		line += ", " + bytesText(r.Size)
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		return err
	}
	width := 0
	for _, f := range r.Facts {
		width = max(width, len(f.Name))
	}
	for _, f := range r.Facts {
		if _, err := fmt.Fprintf(w, "%s  %-*s  %s\n", indent, width, printable(f.Name), printable(f.Value)); err != nil {
			return err
		}
	}
	for _, part := range r.Parts {
		if err := writeReport(w, part, indent+"  "); err != nil {
			return err
		}
	}
	return nil
}

// printable replaces control characters, which come from outside and could
// steer the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	value, unit := float64(n), -1
	for value >= 1<<10 && unit < len(units)-1 {
		value /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
