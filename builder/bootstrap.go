package builder

import (
	"fmt"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/finish"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/source/bootstrap"
	"github.com/powernode/bootsmith/builder/spec"
)

// bootstrapSource is the name of the source whose packages are the plan's.
const bootstrapSource = "bootstrap"

// newBootstrap returns the definition's bootstrap, without its packages.
func newBootstrap(c Config, f *spec.File, a arch.Arch) (bootstrap.Source, error) {
	r := f.Root.Bootstrap
	limit, err := r.TimeLimit()
	if err != nil {
		return bootstrap.Source{}, f.Bad("root.bootstrap.timeout", "%v", err)
	}
	b := bootstrap.Source{
		Platform: f.Name, Arch: a, Timeout: limit, Host: c.Host,
		Log: func(line string) {
			c.Report(Event{Time: c.Now(), Stage: a.Name + "/unpack-root", State: Progress, Detail: line})
		},
	}
	for _, s := range r.Hooks.Stages() {
		for i, path := range s.Paths {
			b.Hooks = append(b.Hooks, bootstrap.Hook{
				Stage: s.Name, Path: f.ResolveFor(a, path), Field: fmt.Sprintf("root.bootstrap.hooks.%s[%d]", s.Name, i),
			})
		}
	}
	return b, nil
}

// baseRequest asks for what a bootstrap installs besides the packages that are
// named.
func baseRequest(f *spec.File) apt.Request {
	if f.Root.Bootstrap == nil {
		return apt.Request{}
	}
	priorities, names := f.Root.Bootstrap.Base()
	return apt.Request{Names: names, Essential: true, Priorities: priorities}
}

// withPackages gives a bootstrap the plan's packages; other sources have none.
func withPackages(root rootSource, p Packages, archive Archive) rootSource {
	b, ok := root.(bootstrap.Source)
	if !ok {
		return root
	}
	b.Packages, b.Archive = p.installed(), archive
	return b
}

// installed returns the root's packages without those of the kernel, which are
// unpacked: the initramfs that their scripts would make is not what boots.
func (p Packages) installed() []apt.Package { return without(p.Root, p.Kernel) }

// kernelInRoot returns those of the kernel's packages that are in the root.
func (p Packages) kernelInRoot() []apt.Package { return without(p.Root, p.installed()) }

// undocumented returns the packages that the root's own database doesn't know.
func (t Target) undocumented() []apt.Package {
	if t.Root == nil {
		return t.Packages.Beside()
	}
	return t.Packages.Boot()
}

// rootState tells what was done to the root before it is finished.
func (b *targetBuild) rootState() finish.State {
	switch {
	case b.root == nil:
		return finish.Unpacked
	case b.target.Root.Source == bootstrapSource:
		return finish.Bootstrapped
	}
	return finish.Foreign
}
