// Package rootforms writes one root, which Bootsmith has built from packages,
// in every other form that a definition can name: for tests. Other people's
// programs make them: skopeo and umoci the images, tar the archives.
package rootforms

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Base is the definition of the root that the others are made of: the platform
// minimal with its kernel, all modules and systemd's EFI stub.
const Base = `name: base
architectures: [amd64]
root:
  packages: {suite: trixie, include: [base-files, base-passwd, busybox-static, systemd-boot-efi]}
kernel: {package: "linux-image-cloud-${arch}"}
cmdline: ["console=${console}", quiet]
files: ./overlay
permissions:
  - {path: /sbin/init, mode: "0755"}
  - {path: /usr/libexec/platform-up, mode: "0755"}
`

// Epoch is later than any file of the base's, so that no form's times are cut.
const Epoch = "2000000000"

// WriteBase writes the definition of the base with the overlay of the platform
// minimal, and returns its folder.
func WriteBase(t testing.TB, minimal string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "overlay"), os.DirFS(filepath.Join(minimal, "overlay"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "platform.yaml"), Base, 0o644)
	return dir
}

// Forms are the forms of a root, and where definitions of them can be written.
type Forms struct {
	// Dir holds the files that Layout, Archive and the others name.
	Dir string
	// Kernel is the release of the kernel in the root.
	Kernel string
}

// The forms, in Dir.
const (
	Layout   = "layout"       // OCI layout, gzip layers, with kernel and initramfs
	Archive  = "root.tar.xz"  // what is in Layout, by tar
	Verified = "verified.tar" // the root alone, without what the image adds to it
	Bare     = "bare.tar.zst" // Verified without kernel and modules
	Boot     = "boot.tar.gz"  // Archive with the kernel's image in /boot
	Vmlinuz  = "vmlinuz"      // the kernel's image
	Modules  = "modules"      // a folder with <version>
)

// Make makes the forms of a build of Base in an empty folder. It runs tar below
// fakeroot, so that an ordinary user's archives have the owners that root's have.
func Make(t testing.TB, dir, build string) Forms {
	t.Helper()
	f := Forms{Dir: dir}
	Run(t, "skopeo", f.Dir, "skopeo", "--insecure-policy", "copy", "--quiet", "oci:"+filepath.Join(build, "amd64/oci")+":latest", "oci:"+Layout+":latest")
	layers := readLayers(t, filepath.Join(f.Dir, Layout))
	var whole, verified []string
	for _, l := range layers {
		whole = append(whole, l.path)
		if l.verified {
			verified = append(verified, l.path)
		}
	}
	if len(verified) == 0 || len(verified) == len(whole) {
		t.Fatalf("%d of %d layers are the root's", len(verified), len(whole))
	}
	f.pack(t, "--xz --file "+Archive, whole)
	f.pack(t, "--file "+Verified, verified)
	f.Kernel = f.release(t)
	modules := "./usr/lib/modules/" + f.Kernel
	f.pack(t, "--zstd --file "+Bare+" --exclude ./usr/lib/modules", verified)
	f.pack(t, fmt.Sprintf(`--gzip --file %s --transform s,^%s/vmlinuz$,./boot/vmlinuz-%s,`, Boot, modules, f.Kernel), whole)
	for name, member := range map[string]string{Vmlinuz: modules + "/vmlinuz", Modules: modules} {
		if err := os.Mkdir(filepath.Join(f.Dir, name+".d"), 0o755); err != nil {
			t.Fatal(err)
		}
		Run(t, "tar", f.Dir, "tar", "--extract", "--no-same-owner", "--file", Archive, "--directory", name+".d", member)
		if err := os.Rename(filepath.Join(f.Dir, name+".d", member), filepath.Join(f.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// unpack unpacks layers over each other in the folder $1, deletes what they say
// is deleted, and archives the result; $2 are arguments of tar.
const unpack = `set -eu
export XZ_OPT=-0
root=$1 archive=$2
shift 2
for layer; do
	tar --extract --gzip --preserve-permissions --same-owner --numeric-owner --xattrs --xattrs-include='*' --directory "$root" --file "$layer"
	find "$root" -name '.wh.*' | while read -r whiteout; do
		folder=${whiteout%/*} time=$(stat -c %y "${whiteout%/*}")
		rm -rf "$whiteout" "$folder/${whiteout##*/.wh.}"
		touch -d "$time" "$folder"
	done
done
exec tar --create $archive --numeric-owner --xattrs --xattrs-include='*' --sort=name --directory "$root" .
`

// pack archives what layers hold together, with these arguments of tar.
func (f Forms) pack(t testing.TB, archive string, layers []string) {
	t.Helper()
	root, err := os.MkdirTemp(f.Dir, "unpacked-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	Run(t, "fakeroot", f.Dir, "fakeroot", append([]string{"sh", "-c", unpack, "sh", root, archive}, layers...)...)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
}

// release returns the name of the one folder with modules.
func (f Forms) release(t testing.TB) string {
	t.Helper()
	for line := range strings.Lines(Run(t, "tar", f.Dir, "tar", "--list", "--file", Archive)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "./usr/lib/modules/"); ok && strings.HasSuffix(name, "/vmlinuz") {
			return strings.TrimSuffix(name, "/vmlinuz")
		}
	}
	t.Fatal("the image has no kernel")
	return ""
}

// Define writes a definition into a folder of its own in Dir and returns that;
// files of Dir are in its parent.
func (f Forms) Define(t testing.TB, name, text string) string {
	t.Helper()
	dir := filepath.Join(f.Dir, "of-"+name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "platform.yaml"), "name: "+name+"\narchitectures: [amd64]\ncmdline: [\"console=${console}\", quiet]\n"+text, 0o644)
	return dir
}

// Script writes an executable file.
func Script(t testing.TB, path, text string) {
	t.Helper()
	write(t, path, text, 0o755)
}

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// Run runs an installed program and returns what it printed.
func Run(t testing.TB, debianPackage, dir, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v; install the Debian package %s", err, debianPackage)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var said strings.Builder
	cmd.Stderr = io.Writer(&said)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, said.String())
	}
	return string(out)
}
