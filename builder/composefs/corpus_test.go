package composefs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

// content returns a file's inode with n bytes that the seed decides.
func content(n int64, seed byte) *tree.Inode {
	i := &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: n, Mtime: 1_700_000_000}
	if n <= 1<<20 {
		data := sample(n, seed)
		i.Content.Verity = fsverity.Sum(data)
		if n <= tree.InlineMax {
			i.Content.Inline = data
		}
	} else { // too large to make; any digest will do
		i.Content.Verity = fsverity.Sum(fmt.Append(nil, n, seed))
	}
	return i
}

func sample(n int64, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed, byte(n), byte(n >> 8)}).Read(b)
	return b
}

func symlink(target string) *tree.Inode {
	return &tree.Inode{Mode: tree.TypeSymlink | 0o777, Target: target, Mtime: 1_700_000_000}
}

func special(mode, major, minor uint32) *tree.Inode {
	return &tree.Inode{Mode: mode, Major: major, Minor: minor, Mtime: 1_700_000_000}
}

// with changes an inode and returns it.
func with(i *tree.Inode, change func(*tree.Inode)) *tree.Inode {
	change(i)
	return i
}

func withXattrs(i *tree.Inode, pairs ...string) *tree.Inode {
	i.Xattrs = map[string]string{}
	for n := 0; n < len(pairs); n += 2 {
		i.Xattrs[pairs[n]] = pairs[n+1]
	}
	return i
}

// builder makes a tree in a test.
type builder struct {
	testing.TB
	*tree.Tree
}

func (b builder) put(name string, i *tree.Inode) {
	b.Helper()
	if err := b.Put(name, i); err != nil {
		b.Fatal(err)
	}
}

func (b builder) link(from, to string) {
	b.Helper()
	if err := b.Link(from, to); err != nil {
		b.Fatal(err)
	}
}

// capability is a security.capability value: CAP_NET_RAW, effective.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// corpus holds the trees by name; each function fills an empty one.
var corpus = []struct {
	name string
	fill func(b builder)
}{
	{"empty", func(builder) {}},
	{"root metadata", func(b builder) {
		b.put("/", withXattrs(&tree.Inode{Mode: tree.TypeDir | 0o1777, UID: 3, GID: 70000, Mtime: 5, MtimeNsec: 6},
			"security.selinux", "system_u:object_r:root_t:s0\x00", "user.x", "1", "trusted.overlay.opaque", "z"))
		b.put("/3f", content(70, 1))
		b.put("/a0/file", content(70, 1))
	}},
	{"sizes", func(b builder) {
		for n, size := range []int64{0, 1, 63, 64, 65, 4095, 4096, 4097, 8192, 65536, 65537, 1<<20 - 1} {
			b.put(fmt.Sprintf("/f%d", size), content(size, byte(n)))
		}
	}},
	{"huge sizes", func(b builder) {
		for _, size := range []int64{1<<32 - 1, 1 << 32, 1<<32 + 1, 5 << 30, 1 << 42, maxFile - 1, maxFile} {
			b.put(fmt.Sprintf("/f%d", size), content(size, 0))
		}
	}},
	{"hard links", func(b builder) {
		b.put("/z", content(5000, 1))
		b.link("/z", "/a/deep/first")
		b.link("/z", "/a/second")
		b.put("/m/one", content(10, 2))
		b.link("/m/one", "/b")
		b.put("/s", symlink("somewhere"))
		b.link("/s", "/n/s2")
		b.put("/dev/null", special(tree.TypeChar|0o666, 1, 3))
		b.link("/dev/null", "/dev/null2")
	}},
	{"directories that share metadata", func(b builder) {
		shared := withXattrs(special(tree.TypeDir|0o711, 0, 0), "user.x", "y")
		b.put("/a", shared)
		b.put("/b", shared)
		b.put("/a/x", content(1, 1))
		b.put("/b/gone", special(tree.TypeChar, 0, 0))
	}},
	{"special files", func(b builder) {
		b.put("/null", special(tree.TypeChar|0o666, 1, 3))
		b.put("/sda", special(tree.TypeBlock|0o660, 8, 0))
		b.put("/big", special(tree.TypeBlock|0o660, maxMajor, maxMinor))
		b.put("/minor", special(tree.TypeChar|0o660, 1, 0x12345))
		b.put("/fifo", special(tree.TypeFifo|0o600, 0, 0))
		b.put("/socket", special(tree.TypeSocket|0o755, 0, 0))
		b.put("/block0", special(tree.TypeBlock|0o600, 0, 0))
	}},
	{"modes and owners", func(b builder) {
		for _, perm := range []uint32{0, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777} {
			b.put(fmt.Sprintf("/d%o", perm), special(tree.TypeDir|perm, 0, 0))
			b.put(fmt.Sprintf("/f%o", perm), with(content(3, 0), func(i *tree.Inode) { i.Mode = tree.TypeRegular | perm }))
		}
		for _, id := range []uint32{1, 65534, 65535, 65536, 1<<32 - 1} {
			b.put(fmt.Sprintf("/u%d", id), with(content(3, 0), func(i *tree.Inode) { i.UID = id }))
			b.put(fmt.Sprintf("/g%d", id), with(content(300, 0), func(i *tree.Inode) { i.GID = id }))
		}
	}},
	{"times", func(b builder) {
		for _, sec := range []int64{-1 << 40, -1, 0, 1, 1 << 31, 1 << 40} {
			for _, nsec := range []uint32{0, 1, 999_999_999} {
				b.put(fmt.Sprintf("/t%d.%d", sec, nsec), with(content(1, 0), func(i *tree.Inode) { i.Mtime, i.MtimeNsec = sec, nsec }))
			}
		}
	}},
	{"xattrs", func(b builder) {
		b.put("/ping", withXattrs(content(70, 1), "security.capability", capability))
		b.put("/ping2", withXattrs(content(71, 1), "security.capability", capability))
		b.put("/acl", withXattrs(content(3, 1), "system.posix_acl_access", "\x02\x00\x00\x00", "system.posix_acl_default", "x"))
		b.put("/other", withXattrs(content(3, 1), "system.nfs4_acl", "x", "lustre.lov", "y", "btrfs.compression", "zstd"))
		b.put("/equals", withXattrs(content(3, 1), "user.a=b\\c d", "v=\x00\n-", "user.dash", "-", "user.empty", ""))
		b.put("/long", withXattrs(content(3, 1), "user."+strings.Repeat("n", 250), strings.Repeat("v", 6000)))
		b.put("/overlay", withXattrs(content(80, 1), "trusted.overlay.metacopy", "m", "trusted.overlay.overlay.metacopy", "n",
			"user.overlay.redirect", "r", "trusted.x", "t", "trusted."+strings.Repeat("t", 247), "u"))
		b.put("/dir", withXattrs(special(tree.TypeDir|0o755, 0, 0), "user.dir", "d", "security.selinux", "ctx"))
		b.put("/link", withXattrs(symlink("x"), "security.selinux", "ctx"))
		b.put("/sizes", withXattrs(content(0, 0), "user.1", "a", "user.2", "ab", "user.3", "abc", "user.4", "abcd"))
		b.put("/sizes2", withXattrs(content(0, 0), "user.1", "b", "user.2", "aa", "user.3", "abd", "user.4", "abcd"))
		b.put("/sizes3", withXattrs(content(0, 0), "user.1", "b", "user.2", "aa", "user.3", "abd", "user.4", "ab"))
		b.put("/sizes4", withXattrs(content(0, 0), "user.1", "a", "user.2", "ab", "user.3", "abc", "user.4", "ab"))
	}},
	{"many shared xattrs", func(b builder) {
		for _, name := range []string{"/a", "/b"} {
			i := content(100, 1)
			i.Xattrs = map[string]string{}
			for n := range 200 {
				i.Xattrs[fmt.Sprintf("user.x%03d", n)] = fmt.Sprint(n % 7)
			}
			b.put(name, i)
		}
	}},
	{"whiteouts", func(b builder) {
		b.put("/dir/gone", special(tree.TypeChar|0o600, 0, 0))
		b.put("/dir/gone2", withXattrs(special(tree.TypeChar, 0, 0), "user.x", "y", "trusted.overlay.y", "z"))
		b.put("/gone", special(tree.TypeChar|0o644, 0, 0))
		b.put("/other/file", content(1, 1))
		b.link("/dir/gone", "/other/linked")
	}},
	{"names", func(b builder) {
		for _, name := range []string{"\x01", "\n", "\t", " ", "!", "+", "-", ".a", "..a", "...", "=", "\\", "\\x41", "~", "\x7f",
			"\xff\xfe", "\xc3\x28", "ümlaut", "日本", strings.Repeat("x", 255), strings.Repeat("\xff", 255)} {
			b.put("/"+name, content(2, 1))
			b.put("/dir/"+name, content(200, 1))
			b.put("/ldir/"+name, symlink(name))
		}
	}},
	{"symlinks", func(b builder) {
		for _, n := range []int{1, 31, 32, 33, 2047, 2048, 2049, 3999, 4000, 4030, 4031, 4032, 4033, 4062, 4063, 4064, 4065, 4094, 4095} {
			b.put(fmt.Sprintf("/l%d", n), symlink(strings.Repeat("s", n)))
			b.put(fmt.Sprintf("/m%d", n), with(symlink(strings.Repeat("s", n)), func(i *tree.Inode) { i.Mtime++ }))
			b.put(fmt.Sprintf("/x%d", n), withXattrs(symlink(strings.Repeat("s", n)), "user.a", strings.Repeat("x", n%50)))
		}
	}},
	{"long symlinks only", func(b builder) {
		for n := range 40 {
			b.put(fmt.Sprintf("/l%d", n), symlink(strings.Repeat("s", 4056+n)))
		}
	}},
	{"deep path", func(b builder) {
		b.put(strings.Repeat("/d", 300)+"/file", content(3, 1))
		b.put("/"+strings.Repeat(strings.Repeat("e", 200)+"/", 15)+"file", content(3, 1))
	}},
	{"large directories", func(b builder) {
		for n := range 20_000 {
			b.put(fmt.Sprintf("/many/file-%d", n), content(int64(n%80), byte(n)))
		}
		for n := range 700 {
			b.put(fmt.Sprintf("/sub/%d/x", n), content(100, 1))
		}
		for n := range 100 {
			for m := range n {
				b.put(fmt.Sprintf("/n%d/%s%d", n, strings.Repeat("y", 60), m), symlink("y"))
			}
		}
	}},
}

// newTree returns a corpus entry's tree.
func newTree(t testing.TB, fill func(builder)) *tree.Tree {
	t.Helper()
	b := builder{t, tree.New(1_700_000_000)}
	fill(b)
	return b.Tree
}
