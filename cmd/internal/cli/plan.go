package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
)

// planOptions are the flags of plan.
type planOptions struct {
	planFlags
	json           bool
	matrix, runsOn string
}

// Values of --matrix.
const (
	matrixArch   = "arch"
	matrixFamily = "family"
)

func newPlan(env Env) *cobra.Command {
	var flags planOptions
	c := &cobra.Command{
		Use:   "plan",
		Short: "Print what a build would take and do, without doing it",
		Long: `Prints the build's inputs with their digests, what of them the cache has, and the
stages: which results would be reused, and which would be built. Nothing but
package indexes is downloaded. With --json, it prints the plan itself: the same
plan gives the same bytes, and diff compares two.

With --matrix, it prints the jobs of a workflow's matrix, one line of JSON, one
job per architecture or, with --matrix=family, per architecture and family. That
looks at the definition only.`,
		Example: `  bootsmith plan
  bootsmith plan --locked --json > plan.json
  bootsmith plan --matrix
  bootsmith plan --matrix=family --runs-on 'debian-${arch}'`,
		RunE: func(c *cobra.Command, _ []string) error {
			if flags.matrix != "" {
				return printMatrix(env, flags)
			}
			if flags.runsOn != "" {
				return fault.Inputf("reading --runs-on: it is for --matrix").WithFix("give --matrix, or leave --runs-on out")
			}
			return fault.Default(fault.Build, runPlan(c.Context(), env, flags))
		},
	}
	flags.register(c)
	f := c.Flags()
	f.BoolVar(&flags.json, "json", false, "print the plan as JSON")
	f.StringVar(&flags.matrix, "matrix", "", "print a workflow's matrix: a job per arch or per family")
	f.Lookup("matrix").NoOptDefVal = matrixArch
	f.StringVar(&flags.runsOn, "runs-on", "", "with --matrix: label of the runner for each job; ${arch} is replaced")
	return c
}

func runPlan(ctx context.Context, env Env, flags planOptions) error {
	return flags.plan(ctx, env, func(file *spec.File, config builder.Config, plan *builder.Plan) error {
		if flags.json {
			return printJSON(env, plan)
		}
		downloads, err := builder.Downloads(config, file, plan)
		if err != nil {
			return err
		}
		stages, err := builder.Stages(config, file, plan)
		if err != nil {
			return err
		}
		return printPlan(env.Stdout, plan, downloads, stages)
	})
}

// job is a job of a workflow's matrix.
type job struct {
	Arch     string `json:"arch"`
	Family   string `json:"family,omitempty"`
	Families string `json:"families,omitempty"` // for --variants
	RunsOn   string `json:"runs_on,omitempty"`
}

// printMatrix prints what fromJSON takes for strategy.matrix.
func printMatrix(env Env, flags planOptions) error {
	if flags.matrix != matrixArch && flags.matrix != matrixFamily {
		return fault.Inputf("reading --matrix %q: unknown", flags.matrix).WithFix("use %s or %s", matrixArch, matrixFamily)
	}
	file, err := spec.Read(flags.file)
	if err != nil {
		return err
	}
	rows, err := builder.Matrix(builder.Request{File: file, Architectures: flags.arches, Families: flags.families})
	if err != nil {
		return err
	}
	jobs := []job{}
	for _, row := range rows {
		runsOn := strings.ReplaceAll(flags.runsOn, "${arch}", row.Arch)
		if flags.matrix == matrixArch {
			jobs = append(jobs, job{Arch: row.Arch, Families: strings.Join(row.Families, ","), RunsOn: runsOn})
			continue
		}
		for _, name := range row.Families {
			jobs = append(jobs, job{Arch: row.Arch, Family: name, RunsOn: runsOn})
		}
	}
	return json.NewEncoder(env.Stdout).Encode(map[string]any{"include": jobs})
}

// printPlan prints a plan for people.
func printPlan(out io.Writer, p *builder.Plan, downloads []builder.Download, stages []builder.StagePlan) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	row("platform", p.Platform)
	row("revision", p.Revision)
	row("time stamp", time.Unix(p.Epoch, 0).UTC().Format(time.RFC3339))
	row("families", strings.Join(p.Families, " "))
	row("plan", p.Digest())
	row("definition", p.DefinitionSHA256)
	row("lock", orNone(p.LockSHA256))
	row("files", p.OverlayDigest)
	row("ESP files", p.ESPDigest)
	row("initramfs files", p.Boot.FilesDigest)
	row("Secure Boot", p.Boot.CertificateSHA256)
	if p.Boot.RPi4 != nil {
		row("firmware", p.Boot.RPi4.FirmwareDigest)
	}
	for i, t := range p.Targets {
		fmt.Fprintf(w, "\n%s\n", t.Arch)
		printInputs(row, t, downloads[i])
		row("  command line", strings.Join(t.Cmdline, " "))
		row("  init", t.InitSHA256)
		for _, s := range stages {
			if name, ok := strings.CutPrefix(s.Stage, t.Arch+"/"); ok {
				row("  "+string(s.Action), strings.TrimSpace(fmt.Sprintf("%-14s %s", name, s.Key)))
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "\n"+summary(stages))
	return err
}

// printInputs prints where a target comes from.
func printInputs(row func(name, value string), t builder.Target, d builder.Download) {
	if t.Packages.Suite != "" {
		row("  suite "+t.Packages.Suite, t.Packages.ReleaseDate.UTC().Format(time.RFC3339)+"  "+t.Packages.ReleaseSHA256)
	}
	for _, r := range t.Packages.Repositories {
		row("  suite "+r.Suite, r.Date.UTC().Format(time.RFC3339)+"  "+r.SHA256)
	}
	if t.Root != nil {
		row("  root from "+t.Root.Source, t.Root.Digest)
	}
	row("  kernel files", t.KernelDigest)
	if d.Packages > 0 {
		text := fmt.Sprintf("%d of %s", d.Packages, bytesText(d.Bytes))
		if d.Missing > 0 {
			text += fmt.Sprintf(", %d of %s to download", d.Missing, bytesText(d.MissingBytes))
		} else {
			text += ", all in the cache"
		}
		row("  packages", text)
	}
}

// summary counts the stages by what would be done.
func summary(stages []builder.StagePlan) string {
	count := func(a builder.Action) int {
		return len(slices.DeleteFunc(slices.Clone(stages), func(s builder.StagePlan) bool { return s.Action != a }))
	}
	return fmt.Sprintf("%d stages to build, %d to reuse, %d not needed", count(builder.Build), count(builder.Reuse), count(builder.Skip))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
