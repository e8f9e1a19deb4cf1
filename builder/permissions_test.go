package builder

import (
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/builder/tree"
)

// A path that the root lacks is an error that names the definition's line.
func TestPermissionsOfMissingPaths(t *testing.T) {
	f, err := spec.Parse("platform.yaml", []byte(`name: demo
root: {packages: {suite: trixie, include: [busybox]}}
permissions:
  - {path: /, mode: "0711"}
  - {path: /nowhere, mode: "0755"}
`))
	if err != nil {
		t.Fatal(err)
	}
	root := tree.New(0)
	err = applyPermissions(root, f, f.Permissions)
	const want = `platform.yaml:5: permissions[1].path: "/nowhere": the root has no such path; name a path`
	if err == nil || !strings.Contains(err.Error(), want) || fault.ClassOf(err) != fault.Input {
		t.Errorf("got %v", err)
	}
	if root.Root.Inode.Mode != tree.TypeDir|0o711 {
		t.Errorf("the root's mode is %o", root.Root.Inode.Mode)
	}
}
