package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder"
)

func newVersion(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of bootsmith and of what shapes its output",
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(env.Stdout, "bootsmith %s (format %d)\n", builder.Version, builder.FormatVersion)
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return nil
			}
			fmt.Fprintf(env.Stdout, "go %s\n", info.GoVersion)
			for _, d := range info.Deps {
				if builder.ShapesOutput(d.Path) {
					fmt.Fprintf(env.Stdout, "%s %s\n", d.Path, d.Version)
				}
			}
			return nil
		},
	}
}
