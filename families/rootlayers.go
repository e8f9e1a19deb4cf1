package families

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// How the root is divided into layers. What one package holds is in one layer, so
// that another version of it sends that layer again and the last one, and none
// of the others.
const (
	// ownLayers is how many of the largest packages get layers of their own, if
	// their files have ownSize bytes or more.
	ownLayers = 6
	ownSize   = 2 << 20
	// sharedLayers is how many layers the other packages share. A package's name
	// alone says which is its, so that no other package can move it.
	sharedLayers = 6

	dpkgInfoDir = "var/lib/dpkg/info"
)

// rootLayer is a part of the root.
type rootLayer struct {
	comment string
	tree    *tree.Tree
}

// splitRoot divides a root into layers that make it again when they are applied
// in order. The last one holds what no package has shipped as it is, and the
// metadata of all directories: directories change when anything in them does, so
// the other layers have them with mode 0755 and no time.
func splitRoot(root *tree.Tree, contents *store.Store, epoch int64) ([]rootLayer, error) {
	owners, err := packageOwners(root, contents, epoch)
	if err != nil {
		return nil, fmt.Errorf("dividing the root into layers: %w", err)
	}
	comments := layerComments(owners)
	parts := map[string]*partialTree{}
	rest := newPartialTree(root.Root)
	err = root.Walk(func(path string, n *tree.Node) error {
		if n.Inode.IsDir() {
			return rest.put(path, n.Inode)
		}
		comment := comments[owners[n.Inode]]
		if comment == "" {
			return rest.put(path, n.Inode)
		}
		if parts[comment] == nil {
			parts[comment] = newPartialTree(nil)
		}
		return parts[comment].put(path, n.Inode)
	})
	if err != nil {
		return nil, fmt.Errorf("dividing the root into layers: %w", err)
	}
	var layers []rootLayer
	for comment, part := range parts {
		layers = append(layers, rootLayer{comment, part.tree})
	}
	slices.SortFunc(layers, func(a, b rootLayer) int { return strings.Compare(a.comment, b.comment) })
	return append(layers, rootLayer{"directories, and files of no package", rest.tree}), nil
}

// packageOwners tells which package has shipped a file, from dpkg's lists. What
// was made or changed after unpacking has the epoch as its time, and no owner.
func packageOwners(root *tree.Tree, contents *store.Store, epoch int64) (map[*tree.Inode]string, error) {
	owners := map[*tree.Inode]string{}
	info, err := root.Resolve(dpkgInfoDir)
	if err != nil {
		return owners, nil // a root that was not made of packages
	}
	for _, n := range info.Children() {
		list, ok := strings.CutSuffix(n.Name, ".list")
		if !ok || !n.Inode.IsRegular() {
			continue
		}
		name, _, _ := strings.Cut(list, ":")
		paths, err := readList(contents, n.Inode.Content)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			owned, err := root.Lookup(p)
			if err != nil || owned.Inode.IsDir() || owned.Inode.Mtime == epoch || owners[owned.Inode] != "" {
				continue // removed, or not the package's alone
			}
			owners[owned.Inode] = name
		}
	}
	return owners, nil
}

// maxList bounds a package's list of files, in bytes.
const maxList = 32 << 20

func readList(contents *store.Store, c tree.Content) ([]string, error) {
	r, err := contents.Open(c)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxList))
	if err != nil {
		return nil, err
	}
	return strings.Split(string(data), "\n"), nil
}

// layerComments names the layer of each package.
func layerComments(owners map[*tree.Inode]string) map[string]string {
	type pack struct {
		name string
		size int64
	}
	sizes := map[string]int64{}
	for inode, name := range owners {
		sizes[name] += inode.Size
	}
	var packs []pack
	for name, size := range sizes {
		packs = append(packs, pack{name, size})
	}
	slices.SortFunc(packs, func(a, b pack) int {
		return cmp.Or(cmp.Compare(b.size, a.size), strings.Compare(a.name, b.name))
	})
	comments := map[string]string{}
	for i, p := range packs {
		if i < ownLayers && p.size >= ownSize {
			comments[p.name] = "package " + p.name
			continue
		}
		h := fnv.New32a()
		h.Write([]byte(p.name))
		comments[p.name] = fmt.Sprintf("packages, group %d of %d", h.Sum32()%sharedLayers+1, sharedLayers)
	}
	return comments
}

// partialTree is a tree with some files of another one.
type partialTree struct {
	tree   *tree.Tree
	copies map[*tree.Inode]*tree.Inode // a tree counts the links of its inodes
}

// newPartialTree returns a tree whose root directory is like that of root; nil
// stands for one with mode 0755 and no time.
func newPartialTree(root *tree.Node) *partialTree {
	p := &partialTree{tree: tree.New(0), copies: map[*tree.Inode]*tree.Inode{}}
	if root != nil {
		*p.tree.Root.Inode = *root.Inode
	}
	return p
}

// put adds a file with the directories that lead to it.
func (p *partialTree) put(path string, inode *tree.Inode) error {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		if err := p.makeDirs(path[:i]); err != nil {
			return err
		}
	}
	copied := p.copies[inode]
	if copied == nil {
		c := *inode
		copied = &c
		p.copies[inode] = copied
	}
	return p.tree.Put(path, copied)
}

// makeDirs makes a directory and those that lead to it, unless they are there.
// It looks at the deepest first: most are there.
func (p *partialTree) makeDirs(dir string) error {
	if _, err := p.tree.Lookup(dir); err == nil {
		return nil
	}
	if i := strings.LastIndexByte(dir, '/'); i > 0 {
		if err := p.makeDirs(dir[:i]); err != nil {
			return err
		}
	}
	return p.tree.Put(dir, &tree.Inode{Mode: tree.TypeDir | 0o755})
}
