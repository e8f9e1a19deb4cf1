package cli

import (
	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/families"
)

func newSchema(env Env) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of platform.yaml",
		Example: "  bootsmith schema > platform.schema.json",
		RunE: func(*cobra.Command, []string) error {
			b, err := spec.Schema(families.Names())
			if err != nil {
				return err
			}
			_, err = env.Stdout.Write(b)
			return err
		},
	}
}
