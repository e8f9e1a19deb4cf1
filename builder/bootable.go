package builder

import (
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/tree"
)

// mountPoints are the directories of the root that bootsmith-init needs.
var mountPoints = []string{"dev", "proc", "run", "sys"}

// inits are the programs that bootsmith-init starts: the first that is there,
// unless a parameter names another one.
var inits = []string{"/sbin/init", "/usr/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd"}

// checkBootable makes sure that bootsmith-init finds in the root what it needs to
// go on. init is the program that a kernel parameter names, or "".
func checkBootable(t *tree.Tree, init string) error {
	var missing []string
	for _, dir := range mountPoints {
		if n, err := t.Lookup(dir); err != nil || !n.Inode.IsDir() {
			missing = append(missing, "/"+dir)
		}
	}
	if len(missing) > 0 {
		return fault.Inputf("checking the root: it can't boot without the directories %s", strings.Join(missing, ", ")).
			WithFix("make them where the root is made, empty, or in the folder of files")
	}
	candidates := inits
	if init != "" {
		candidates = []string{init}
	}
	if slices.ContainsFunc(candidates, func(path string) bool { return isProgram(t, path) }) {
		return nil
	}
	return fault.Inputf("checking the root: it can't boot without an init: %s is no executable file", strings.Join(candidates, ", nor ")).
		WithFix("put an init system into the root, or name a program of it with init= in cmdline")
}

func isProgram(t *tree.Tree, path string) bool {
	n, err := t.Resolve(path)
	return err == nil && n.Inode.IsRegular() && n.Inode.Mode&0o111 != 0
}

// init returns the program that the kernel parameters name, "" for none.
func (t Target) init() string {
	init := ""
	for _, p := range t.Cmdline {
		if value, ok := strings.CutPrefix(p, "init="); ok {
			init = value
		}
	}
	return init
}
