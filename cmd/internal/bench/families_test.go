//go:build bench

package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/composefs/oracle"
)

// rootPackages make the root of families: with systemd and all modules of the
// generic kernel, some 300 MB.
const rootPackages = "systemd,systemd-sysv,systemd-boot-efi,udev,dbus,openssh-server,sudo,iproute2,kmod,ca-certificates,busybox-static,linux-image-" + architecture

const rootPlatform = `name: bench
architectures: [` + architecture + `]
root: {directory: {path: ../in/root}}
`

// families compares the build of all six families of one root, a folder, with
// nothing in the cache.
func (b *bench) families(t *testing.T) []Comparison {
	b.makeRoot(t)
	composefs, err := oracle.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.room.Binds["composefs"] = composefs.Dir()
	others := []string{"cpio", b.version(t, "erofs-utils"), b.version(t, "zstd"), b.version(t, "systemd-ukify"),
		b.version(t, "mtools"), b.version(t, "xorriso"), b.version(t, "qemu-utils"), b.version(t, "umoci")}
	verified := append([]string{"mkcomposefs", b.version(t, "cryptsetup-bin")}, others...)
	return []Comparison{
		b.compare(t, b.sixFamilies("six families of a 300 MB root, theirs without composefs and dm-verity", "reference", others)),
		b.compare(t, b.sixFamilies("six families of a 300 MB root", "verified", verified)),
	}
}

// sixFamilies compares a build of ours with a way in which Reference builds.
func (b *bench) sixFamilies(title, way string, others []string) Comparison {
	const dir, all = "work/families/", "kernel-initrd,raw,iso,ipxe,qcow2,oci"
	return Comparison{
		Title: title, Target: 0.5,
		Ours: &Contender{
			Name:    "`bootsmith build`",
			Prepare: func(context.Context) error { return b.clear(dir+"cache", dir+"out") },
			Command: func(ctx context.Context) *exec.Cmd { return b.build(ctx, dir, all) },
			Output:  b.size(dir + "out"),
		},
		Other: &Contender{
			Name: strings.Join(others, ", "),
			Prepare: func(context.Context) error {
				return b.clear(dir+"reference/out", dir+"reference/iso", dir+"reference/tmp")
			},
			Command: func(ctx context.Context) *exec.Cmd { return b.room.Command(ctx, "/bench/families/reference", way) },
			Output:  b.size(dir + "reference/out"),
		},
	}
}

// makeRoot makes the root, builds it once, and gives the reference tools what
// goes into our artifacts, unpacked.
func (b *bench) makeRoot(t *testing.T) {
	t.Helper()
	const dir = "work/families/"
	if _, err := os.Stat(b.path(dir + "done")); err == nil {
		return
	}
	t.Log("making the root")
	b.remove(t, "work/families")
	in := b.path(dir + "reference/in")
	for _, d := range []string{in + "/initrd", b.path(dir + "platform")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.must(t, b.room.Command(t.Context(), "/bench/families", "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root",
		"--include="+rootPackages, suite, "reference/in/root", b.mirror))
	definition := strings.Replace(rootPlatform, "../in/root", in+"/root", 1)
	if err := os.WriteFile(b.path(dir+"platform/platform.yaml"), []byte(definition), 0o644); err != nil {
		t.Fatal(err)
	}
	b.must(t, b.build(t.Context(), "work/families", "kernel-initrd"))
	made := b.path(dir + "out/" + architecture + "/kernel-initrd")
	b.must(t, exec.Command("cp", made+"/vmlinuz", made+"/cmdline", in))
	b.must(t, exec.Command("cp", filepath.Join(in, "root/usr/lib/systemd/boot/efi/linuxx64.efi.stub"), in+"/stub.efi"))
	b.must(t, exec.Command("zstd", "-q", "-d", made+"/initramfs.cpio.zst", "-o", in+"/initramfs.cpio"))
	unpack := exec.Command("cpio", "--extract", "--quiet", "--make-directories", "--no-absolute-filenames", "--file="+in+"/initramfs.cpio")
	unpack.Dir = in + "/initrd"
	b.must(t, unpack)
	if err := os.WriteFile(b.path(dir+"done"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}
