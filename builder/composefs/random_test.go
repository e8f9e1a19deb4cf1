package composefs

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

// random fills a tree as the random source says.
type random struct {
	*rand.Rand
	builder
	dirs, files []string
}

func newRandom(seed uint64, b builder) *random {
	return &random{Rand: rand.New(rand.NewPCG(seed, 1)), builder: b, dirs: []string{""}}
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func (r *random) fill() {
	for range r.IntN(200) {
		parent := pick(r.Rand, r.dirs)
		name := parent + "/" + r.name()
		if _, err := r.Lookup(name); err == nil {
			continue
		}
		if len(r.files) > 0 && r.IntN(10) == 0 {
			r.link(pick(r.Rand, r.files), name)
			continue
		}
		i := r.inode(parent)
		r.put(name, i)
		if i.IsDir() {
			r.dirs = append(r.dirs, name)
		} else {
			r.files = append(r.files, name)
		}
	}
}

func (r *random) name() string {
	if r.IntN(8) == 0 {
		b := make([]byte, 1+r.IntN(255))
		for i := range b {
			b[i] = byte(1 + r.IntN(255))
			if b[i] == '/' {
				b[i] = '0'
			}
		}
		if s := string(b); s != "." && s != ".." {
			return s
		}
	}
	if r.IntN(8) == 0 {
		return fmt.Sprintf("%02x", r.IntN(256))
	}
	return fmt.Sprintf("%c%d%s", 'a'+r.IntN(26), r.IntN(1000), strings.Repeat("n", r.IntN(40)))
}

func (r *random) inode(parent string) *tree.Inode {
	i := r.typed()
	i.Mode |= r.Uint32() & 0o7777
	i.UID = pick(r.Rand, []uint32{0, 0, 0, 1000, 65535, 65536, r.Uint32()})
	i.GID = pick(r.Rand, []uint32{0, 0, 0, 100, 65535, 65536, r.Uint32()})
	i.Mtime = pick(r.Rand, []int64{1_700_000_000, 1_700_000_000, 1_700_000_001, 0, r.Int64()})
	i.MtimeNsec = pick(r.Rand, []uint32{0, 0, 0, 1, r.Uint32N(1_000_000_000)})
	if r.IntN(3) == 0 {
		r.xattrs(i)
	}
	return i
}

func (r *random) typed() *tree.Inode {
	switch r.IntN(12) {
	case 0, 1, 2:
		return &tree.Inode{Mode: tree.TypeDir}
	case 3, 4:
		i := symlink(strings.Repeat("t", 1+r.IntN(pick(r.Rand, []int{10, 100, 2000, 4095}))))
		i.Mode = tree.TypeSymlink
		return i
	case 5:
		return special(pick(r.Rand, []uint32{tree.TypeFifo, tree.TypeSocket}), 0, 0)
	case 6:
		return special(pick(r.Rand, []uint32{tree.TypeChar, tree.TypeBlock}), r.Uint32N(maxMajor+1), 1+r.Uint32N(maxMinor))
	case 7:
		return special(tree.TypeChar, 0, 0)
	}
	i := content(r.Int64N(pick(r.Rand, []int64{1, 65, 65, 200, 100_000, 1 << 40})), byte(r.IntN(4)))
	i.Mode = tree.TypeRegular
	return i
}

// xattrs adds some; it leaves out the names that mkcomposefs itself gives to
// directories of whiteouts, for on those it fails.
func (r *random) xattrs(i *tree.Inode) {
	i.Xattrs = map[string]string{}
	for range r.IntN(6) {
		name := pick(r.Rand, []string{"user.a", "user.bb", "user.ccc", "security.selinux", "security.capability",
			"system.posix_acl_access", "system.posix_acl_default", "system.posix_acl_access_x", "trusted.a",
			"trusted.overlay.metacopy", "trusted.overlay.redirect", "trusted.overlay.overlay.x", "trusted.overlay.nlink",
			"other.x", "user." + strings.Repeat("z", r.IntN(251)), fmt.Sprintf("user.%d", r.IntN(50))})
		value := make([]byte, r.IntN(pick(r.Rand, []int{1, 3, 40, 1000})))
		for n := range value {
			value[n] = byte(r.IntN(3))
		}
		i.Xattrs[name] = string(value)
	}
}
