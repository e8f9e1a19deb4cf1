package files

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

const epoch = 1700000000

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bzImage is the beginning of an x86 kernel image.
func bzImage(release string) string {
	b := make([]byte, 0x1000)
	copy(b, "MZ")
	b[0x3c] = 0x80
	copy(b[0x80:], "PE\x00\x00\x64\x86")
	copy(b[0x202:], "HdrS")
	if release != "" {
		binary.LittleEndian.PutUint16(b[0x20e:], 0x400)
		copy(b[0x600:], release+" #1\x00")
	}
	return string(b)
}

// write makes files; a name that ends in "/" is a folder, a text with "->" in
// front a symlink.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if target, ok := strings.CutPrefix(text, "->"); ok {
			must(t, os.Symlink(target, path))
		} else if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o755))
		} else {
			must(t, os.WriteFile(path, []byte(text), 0o640))
		}
	}
	return dir
}

// modules are those of a kernel, below a folder.
func modules(at string) map[string]string {
	return map[string]string{
		at + "/kernel/fs/a.ko":    "a",
		at + "/modules.builtin":   "kernel/b.ko\n",
		at + "/build":             "->/home/someone/linux",
		at + "/source":            "->/home/someone/linux",
		at + "/kernel/alias.ko":   "->fs/a.ko",
		at + "/kernel/fs/source/": "",
	}
}

func load(t *testing.T, f Source) (string, *tree.Tree, error) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	must(t, err)
	f.Arch, f.Limits = arch.All()[0], source.Limits{Entries: 1000, Bytes: 1 << 20}
	pin, err := f.Pin(context.Background(), s, epoch)
	if err != nil {
		return "", nil, err
	}
	got, err := f.Read(context.Background(), s, epoch, pin)
	return pin, got, err
}

// The same kernel in every form is the same.
func TestForms(t *testing.T) {
	const version = "6.1.0-test"
	image := filepath.Join(write(t, map[string]string{"bzImage": bzImage(version)}), "bzImage")
	pins := map[string]bool{}
	for _, at := range []string{"usr/lib/modules/" + version, "lib/modules/" + version, version, "x"} {
		dir := write(t, modules(at))
		if at == "x" { // the image tells the release
			dir = filepath.Join(dir, at)
		}
		archive := filepath.Join(t.TempDir(), "m.tar.xz")
		if out, err := exec.Command("tar", "-C", dir, "--owner=7", "--mode=777", "-cJf", archive, ".").CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, out)
		}
		for _, path := range []string{dir, archive} {
			pin, got, err := load(t, Source{Image: image, Modules: path})
			if err != nil {
				t.Errorf("%s: %v", at, err)
				continue
			}
			pins[pin] = true
			var names []string
			_ = got.Walk(func(path string, n *tree.Node) error {
				if n.Inode.Mtime != epoch || n.Inode.UID != 0 || n.Inode.IsRegular() && n.Inode.Mode&0o7777 != 0o644 {
					t.Errorf("%s is %+v", path, n.Inode)
				}
				if !n.Inode.IsDir() {
					names = append(names, path)
				}
				return nil
			})
			const m = "usr/lib/modules/" + version
			want := "boot/vmlinuz-" + version + " " + m + "/kernel/alias.ko " + m + "/kernel/fs/a.ko " + m + "/modules.builtin"
			if strings.Join(names, " ") != want {
				t.Errorf("%s: got %q", at, names)
			}
		}
	}
	if len(pins) != 1 {
		t.Errorf("the forms give the digests %v", pins)
	}
}

func TestVersions(t *testing.T) {
	two := modules("6.1")
	for name, text := range modules("6.2") {
		two[name] = text
	}
	named, nameless := map[string]string{"k": bzImage("6.1")}, map[string]string{"k": bzImage("")}
	for name, x := range map[string]struct {
		image, modules map[string]string
		version        string
		want           string // the kernel's place, or what the error says
	}{
		"of the image":            {named, nil, "", "boot/vmlinuz-6.1"},
		"given":                   {nameless, nil, "6.3-x", "boot/vmlinuz-6.3-x"},
		"of the modules":          {nameless, modules("6.1"), "", "boot/vmlinuz-6.1"},
		"of two":                  {nameless, two, "6.2", "boot/vmlinuz-6.2"},
		"unknown":                 {nameless, nil, "", "its header tells no release; set kernel.files.version"},
		"image of another":        {named, nil, "6.2", `it is of release "6.1", and not of "6.2"; make kernel.files.image, modules and version name one kernel`},
		"modules of another":      {named, modules("6.2"), "", `it is of release "6.1", and not of "6.2"`},
		"several":                 {nameless, two, "", "it holds those of 2 kernels: 6.1, 6.2; set kernel.files.version to one of them"},
		"no such":                 {nameless, two, "6.3", `it holds those of 6.1, 6.2, and not of "6.3"; correct kernel.files.version`},
		"no modules":              {nameless, map[string]string{"x/y": "z"}, "", "it holds no kernel's modules; name the folder <version> that make modules_install fills"},
		"a name that is no name":  {nameless, modules("a b"), "", `"a b" is not a kernel's release`},
		"folder without its name": {nameless, modules("."), "", "boot/vmlinuz-001"}, // t.TempDir()'s
	} {
		t.Run(name, func(t *testing.T) {
			f := Source{Image: filepath.Join(write(t, x.image), "k"), Version: x.version}
			if x.modules != nil {
				f.Modules = write(t, x.modules)
			}
			_, got, err := load(t, f)
			if err != nil {
				if !strings.Contains(err.Error(), x.want) || fault.ClassOf(err) != fault.Input {
					t.Errorf("error %v (class %d) lacks %q", err, fault.ClassOf(err), x.want)
				}
				return
			}
			if x.want == "boot/vmlinuz-001" {
				x.want = "boot/vmlinuz-" + filepath.Base(f.Modules)
			}
			if _, err := got.Lookup(x.want); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDeviceTrees(t *testing.T) {
	dir := write(t, map[string]string{"k": bzImage("6.1"), "dtbs/broadcom/bcm2711-rpi-4-b.dtb": "tree"})
	_, got, err := load(t, Source{Image: filepath.Join(dir, "k"), DeviceTrees: filepath.Join(dir, "dtbs")})
	must(t, err)
	if n, err := got.Lookup("usr/lib/linux-image-6.1/broadcom/bcm2711-rpi-4-b.dtb"); err != nil || string(n.Inode.Content.Inline) != "tree" {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestRefuses(t *testing.T) {
	dir := write(t, map[string]string{
		"k": bzImage("6.1"), "text": "no kernel", "cut.tar": "cut", "bomb/6.1/kernel/a.ko": strings.Repeat("x", 2<<20),
		"pipe/6.1/kernel/": "", "dir/": "",
	})
	must(t, exec.Command("mkfifo", filepath.Join(dir, "pipe/6.1/kernel/p"), filepath.Join(dir, "fifo")).Run())
	for name, x := range map[string]struct {
		f    Source
		want string
	}{
		"no image":      {Source{Image: "nowhere"}, "no such file"},
		"folder":        {Source{Image: "dir"}, "it is not a file; correct kernel.files.image"},
		"fifo":          {Source{Image: "fifo"}, "it is not a file; correct kernel.files.image"},
		"text":          {Source{Image: "text"}, `text": it is no kernel image`},
		"no modules":    {Source{Image: "k", Modules: "nowhere"}, "reading kernel.files.modules: "},
		"modules":       {Source{Image: "k", Modules: "fifo"}, "it is neither a folder nor a tar archive"},
		"no tar":        {Source{Image: "k", Modules: "cut.tar"}, "reading kernel.files.modules"},
		"bomb":          {Source{Image: "k", Modules: "bomb"}, "exceeds"},
		"special file":  {Source{Image: "k", Modules: "pipe"}, "is neither a file, a folder nor a symlink"},
		"device trees":  {Source{Image: "k", DeviceTrees: "nowhere"}, "reading kernel.files.device_trees"},
		"device trees.": {Source{Image: "k", DeviceTrees: "cut.tar"}, "reading kernel.files.device_trees"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []*string{&x.f.Image, &x.f.Modules, &x.f.DeviceTrees} {
				if *path != "" {
					*path = filepath.Join(dir, *path)
				}
			}
			_, _, err := load(t, x.f)
			if err == nil || !strings.Contains(err.Error(), x.want) || fault.ClassOf(err) != fault.Input {
				t.Errorf("error %v (class %d) lacks %q", err, fault.ClassOf(err), x.want)
			}
		})
	}
}

func TestChangeIsSeen(t *testing.T) {
	dir := write(t, map[string]string{"k": bzImage("6.1")})
	f := Source{Image: filepath.Join(dir, "k"), Arch: arch.All()[0]}
	s, err := store.Open(t.TempDir())
	must(t, err)
	pin, err := f.Pin(context.Background(), s, epoch)
	must(t, err)
	must(t, os.WriteFile(f.Image, append(bytes.Clone([]byte(bzImage("6.1"))), 1), 0o644))
	if _, err := f.Read(context.Background(), s, epoch, pin); fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), "have changed since the plan") {
		t.Errorf("got %v", err)
	}
}
