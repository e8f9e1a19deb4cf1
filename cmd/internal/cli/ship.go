package cli

import (
	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/publish"
)

func newShip(env Env) *cobra.Command {
	var build buildFlags
	var push publishFlags
	var notify notifyFlags
	c := &cobra.Command{
		Use:     "ship",
		Short:   "Build, publish and notify in a row",
		Long:    "Does what build, publish and notify do, one after the other.",
		Example: "  bootsmith ship --arch amd64 --repository registry.example.com/acme/images --webhook-url https://platform.example.com/api/v1/system/webhooks/disk_image_built",
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			repository, err := pickRepository(env, push.repository, build.file)
			if err != nil {
				return err
			}
			push.registry, push.logFormat, build.published = build.registry, build.logFormat, repository
			// What would fail at the end for want of a setting fails now.
			if _, err := newSender(env, notify, build.output); err != nil {
				return err
			}
			if _, err := newSigner(env, push); err != nil {
				return err
			}
			manifests, err := runBuild(ctx, env, build)
			if err != nil {
				return fault.Default(fault.Build, err)
			}
			var arches []string
			for _, m := range manifests {
				arches = append(arches, m.Arch)
			}
			pubs, err := runPublish(ctx, env, push, repository, publish.Build{Dir: build.output, Arches: arches}, false)
			if err != nil {
				return fault.Default(fault.Remote, err)
			}
			if err := runNotify(ctx, env, notify, build.output, pubs); err != nil {
				return fault.Default(fault.Callback, err)
			}
			return printPublished(env, pubs)
		},
	}
	build.register(c)
	push.register(c)
	notify.register(c)
	return c
}
