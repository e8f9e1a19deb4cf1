package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/fault"
)

func newCache(env Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "cache",
		Short: "Show and prune what builds keep for the next ones",
		Long: `Builds keep the results of their stages, the contents of root trees, packages
and container images in one folder, and use again what still fits. All of it can
be made or downloaded again.`,
	}
	var dir string
	c.PersistentFlags().StringVar(&dir, "cache-dir", "", "the cache's folder (default: the user's cache)")
	c.AddCommand(newCacheList(env, &dir), newCachePrune(env, &dir))
	return c
}

func newCacheList(env Env, dir *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "ls",
		Short:   "List the cached results of stages, and what all takes",
		Long:    "Lists the entries, the last used first, and the totals per kind. Entries share\nfiles, so that together they take less than their sizes add up to.",
		Example: "  bootsmith cache ls\n  bootsmith cache ls --json",
		RunE: func(*cobra.Command, []string) error {
			name, err := cacheDir(env, *dir)
			if err != nil {
				return err
			}
			l, err := cache.List(name)
			if err != nil {
				return fault.Default(fault.Build, err)
			}
			if asJSON {
				return printJSON(env, l)
			}
			return printListing(env, l)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// printJSON writes one object, indented.
func printJSON(env Env, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(env.Stdout, "%s\n", b)
	}
	return err
}

func printListing(env Env, l *cache.Listing) error {
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tSTAGE\tSIZE\tLAST USE")
	for _, e := range l.Entries {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.Key[:12], e.Stage, binarySize(e.Size), e.Used.Format(time.DateTime))
	}
	fmt.Fprintln(w, "\nKIND\tCOUNT\tSIZE")
	printTotals(w, l.Totals, l.Size)
	return w.Flush()
}

func printTotals(w *tabwriter.Writer, totals []cache.Total, sum int64) {
	for _, t := range totals {
		fmt.Fprintf(w, "%s\t%d\t%s\n", t.Kind, t.Count, binarySize(t.Size))
	}
	fmt.Fprintf(w, "all\t\t%s\n", binarySize(sum))
}

// binarySize returns a number of bytes in the largest unit that leaves one.
func binarySize(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// pruneFlags say what stays in the cache.
type pruneFlags struct {
	size, age           string
	all, dryRun, asJSON bool
}

func newCachePrune(env Env, dir *string) *cobra.Command {
	var flags pruneFlags
	c := &cobra.Command{
		Use:   "prune",
		Short: "Delete from the cache",
		Long: `Deletes what the limits don't allow, first what was not used for longest; then
what nothing uses any more, damaged entries, and what killed builds left. Without
a limit, only the latter. It waits while builds are running: what they use stays.`,
		Example: "  bootsmith cache prune --max-size 20GiB\n  bootsmith cache prune --max-age 30d --dry-run\n  bootsmith cache prune --all",
		RunE: func(c *cobra.Command, _ []string) error {
			return runPrune(c.Context(), env, *dir, flags)
		},
	}
	f := c.Flags()
	f.StringVar(&flags.size, "max-size", "", "what the cache may take, such as 20GiB")
	f.StringVar(&flags.age, "max-age", "", "how long ago things may have been used, such as 30d or 12h")
	f.BoolVar(&flags.all, "all", false, "delete everything")
	f.BoolVar(&flags.dryRun, "dry-run", false, "only tell what would be deleted")
	f.BoolVar(&flags.asJSON, "json", false, "print one JSON object")
	return c
}

func runPrune(ctx context.Context, env Env, dir string, flags pruneFlags) error {
	limits, err := parseLimits(flags.size, "--max-size")
	if err != nil {
		return err
	}
	if limits.Age, err = parseAge(flags.age); err != nil {
		return err
	}
	if flags.all {
		limits.Size = 0
	}
	name, err := cacheDir(env, dir)
	if err != nil {
		return err
	}
	p, err := cache.Prune(ctx, name, limits, env.Now(), cache.Mode{DryRun: flags.dryRun, Wait: true})
	if err != nil {
		return fault.Default(fault.Build, err)
	}
	if flags.asJSON {
		return printJSON(env, p)
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, map[bool]string{false: "DELETED\tCOUNT\tSIZE", true: "WOULD BE DELETED\tCOUNT\tSIZE"}[flags.dryRun])
	printTotals(w, p.Totals, p.Size)
	fmt.Fprintf(w, "left\t\t%s\n", binarySize(p.Left))
	return w.Flush()
}

// maxAgeDays is what a duration can hold.
const maxAgeDays = math.MaxInt64 / int64(24*time.Hour)

// parseAge reads a number of days, such as 30d, or a duration of Go.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	age, err := time.ParseDuration(s)
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		var n int64
		if n, err = strconv.ParseInt(days, 10, 64); n <= maxAgeDays {
			age = time.Duration(n) * 24 * time.Hour
		} else {
			age = 0
		}
	}
	if err != nil || age <= 0 {
		return 0, fault.Inputf("reading --max-age %q: not an age", s).WithFix("give a number of days or hours, such as 30d or 12h")
	}
	return age, nil
}
