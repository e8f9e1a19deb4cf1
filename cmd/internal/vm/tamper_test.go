//go:build boot

package vm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

// idleMachines is how many run at a time that mostly wait: for a root that never
// comes, and for somebody to read why.
const idleMachines = 4

// attack changes what a machine boots from.
type attack struct {
	name string
	// says is what has to follow "FATAL: " on the console.
	says string
	args func(t *testing.T, v *victim) []string
}

// victim is what an attack starts from.
type victim struct {
	arch     arch.Arch
	dir      string // build/<arch>
	large    string // the same of a platform with a larger root
	manifest *manifest.Manifest
	image    []byte // root.img
	blocks   int64  // its data blocks
}

func attacks() []attack {
	refused := "the root image on vda is damaged or was changed: dm-verity refused a block"
	return []attack{
		{"root hash on the command line", "found no root image with bootsmith.roothash=", func(t *testing.T, v *victim) []string {
			return v.boot(v.image, flipHex(t, v.manifest.Cmdline, "bootsmith.roothash="))(t)
		}},
		{"top block of the verity tree", "found no root image with bootsmith.roothash=", func(t *testing.T, v *victim) []string {
			return v.boot(v.flip((v.blocks+1)*block+77), v.manifest.Cmdline)(t)
		}},
		{"no root", "found no root image with bootsmith.roothash=", func(t *testing.T, v *victim) []string {
			return v.direct(t, v.dir, 0, v.manifest.Cmdline, "initramfs.cpio.zst")
		}},
		// The kernel's log goes there, which "quiet" keeps most of away from it.
		{"no root and no console but the early one", "found no root image with bootsmith.roothash=", func(t *testing.T, v *victim) []string {
			missing := v.arch.Console[:len(v.arch.Console)-1] + "7"
			line := strings.Replace(v.manifest.Cmdline, "console="+v.arch.Console, "console="+missing+" earlycon earlyprintk=ttyS0,115200 keep_bootcon", 1)
			if line == v.manifest.Cmdline || !strings.Contains(line, " quiet ") {
				t.Fatalf("%q has another console or is not quiet", v.manifest.Cmdline)
			}
			return v.direct(t, v.dir, 0, line, "initramfs.cpio.zst")
		}},
		{"root cfs", refused, func(t *testing.T, v *victim) []string {
			at, size := v.rootCFS(t)
			return v.boot(v.flip(at+size/2), v.manifest.Cmdline)(t)
		}},
		{"object", refused, func(t *testing.T, v *victim) []string {
			at, size := v.shell(t)
			return v.boot(v.flip(at+size/2), v.manifest.Cmdline)(t)
		}},
		{"leaf of the verity tree", refused, func(t *testing.T, v *victim) []string {
			return v.boot(v.flip((v.blocks+2)*block+5), v.manifest.Cmdline)(t)
		}},
		{"composefs digest on the command line", "but the kernel command line wants composefs=", func(t *testing.T, v *victim) []string {
			return v.boot(v.image, flipHex(t, v.manifest.Cmdline, " composefs="))(t)
		}},
		{"root partition of a disk", "is damaged or was changed: dm-verity refused a block", rootPartition},
		{"too little memory", "the memory is too small for the root image in the initramfs", tooLittleMemory},
	}
}

// block is the size of dm-verity's blocks in bytes.
const block = 4096

// TestTamper changes one byte of everything that the root depends on, and takes
// it away: each stops the boot with a message, and the machine ends by itself.
func TestTamper(t *testing.T) {
	output, large := buildMinimal(t), buildPlatform(t, largeRoot(t))
	all := attacks()
	var victims []*victim
	for _, a := range arch.All() {
		v := newVictim(t, a, filepath.Join(output, a.Name))
		v.large = filepath.Join(large, a.Name)
		victims = append(victims, v)
	}
	inParallel(t, idleMachines, len(all)*len(victims), func(t *testing.T, i int) (string, func(*testing.T)) {
		v, x := victims[i%len(victims)], all[i/len(victims)]
		name := v.arch.Name + "/" + strings.ReplaceAll(x.name, " ", "-")
		return name, func(t *testing.T) { v.suffer(t, x, strings.ReplaceAll("tamper/"+name, "/", "_")) }
	})
}

func newVictim(t *testing.T, a arch.Arch, dir string) *victim {
	t.Helper()
	v := &victim{arch: a, dir: dir, manifest: readManifest(t, dir)}
	var err error
	if v.image, err = os.ReadFile(filepath.Join(dir, "kernel-initrd", "root.img")); err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(v.manifest.Cmdline, "bootsmith.rootblocks=")
	text, _, _ = strings.Cut(text, " ")
	if v.blocks, err = strconv.ParseInt(text, 10, 64); err != nil {
		t.Fatal(err)
	}
	return v
}

// suffer boots and expects init's message, nothing of the platform, no trace of
// the kernel, and that the machine switches itself off.
func (v *victim) suffer(t *testing.T, x attack, name string) {
	args := x.args(t, v)
	var console string
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
		screen := newScreen()
		err := vm.Start(ctx, args, strings.NewReader(""), screen, false)
		cancel()
		console = screen.String()
		keepLog(t, name, console)
		if err != nil {
			t.Fatalf("the machine did not end by itself: %v; the console said:\n%s", err, console)
		}
		if !emulatorBroke(console) || try == retries {
			break
		}
		t.Logf("the guest's kernel panicked, trying again (%d of %d)", try+1, retries)
	}
	_, message, _ := strings.Cut(console, "bootsmith-init: FATAL: ")
	message, _, _ = strings.Cut(message, "\n")
	if !strings.Contains(message, x.says) {
		t.Errorf("init said %q, want %q", message, x.says)
	}
	for _, never := range []string{userspace, "Kernel panic", "Call Trace"} {
		if strings.Contains(console, never) {
			t.Errorf("the console said %q", never)
		}
	}
	if t.Failed() {
		t.Logf("the console said:\n%s", console)
		return
	}
	t.Logf("init said: %s", message)
}

// flip returns the root image with one bit of one byte changed.
func (v *victim) flip(at int64) []byte {
	changed := bytes.Clone(v.image)
	changed[at] ^= 1
	return changed
}

// flipHex changes one digit of a digest.
func flipHex(t *testing.T, cmdline, parameter string) string {
	t.Helper()
	before, after, ok := strings.Cut(cmdline, parameter)
	if !ok {
		t.Fatalf("no %q in %q", parameter, cmdline)
	}
	digit := "0"
	if after[9] == '0' {
		digit = "1"
	}
	return before + parameter + after[:9] + digit + after[10:]
}

// boot boots kernel and initramfs directly with a root image on a disk.
func (v *victim) boot(image []byte, cmdline string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "root.img")
		if err := os.WriteFile(path, image, 0o644); err != nil {
			t.Fatal(err)
		}
		return append(v.direct(t, v.dir, 0, cmdline, "initramfs.cpio.zst"),
			"-drive", "if=none,id=d0,readonly=on,format=raw,file="+vm.Escape(path), "-device", "virtio-blk-pci,drive=d0")
	}
}

// direct boots a build's kernel with these initrds. 0 MiB stand for the default.
func (v *victim) direct(t *testing.T, build string, memoryMiB int, cmdline string, initrds ...string) []string {
	t.Helper()
	dir := filepath.Join(build, "kernel-initrd")
	joined, err := os.Create(filepath.Join(t.TempDir(), "initrd"))
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Close()
	for _, name := range initrds {
		appendTo(t, joined, filepath.Join(dir, name))
	}
	return append(vm.Base(v.arch, memoryMiB), vm.Direct(v.arch, filepath.Join(dir, "vmlinuz"), joined.Name(), cmdline)...)
}

func appendTo(t *testing.T, w io.Writer, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		t.Fatal(err)
	}
}

// rootCFS finds root.cfs in the root image: an EROFS file system (superblock at
// byte 1024: magic at 0, number of blocks at 36) behind the image's own, whose
// fs-verity digest is the manifest's.
func (v *victim) rootCFS(t *testing.T) (at, size int64) {
	t.Helper()
	const superblock, magic = 1024, 0xe0f5e1e2
	le := binary.LittleEndian
	for at = block; at < v.blocks*block; at += block {
		sb := v.image[at+superblock:]
		if le.Uint32(sb) != magic {
			continue
		}
		size = int64(le.Uint32(sb[36:])) * block
		h := fsverity.New()
		h.Write(v.image[at : at+size])
		sum := h.Sum()
		if hex.EncodeToString(sum[:]) != v.manifest.ComposefsDigest {
			t.Fatalf("what is at %d has the digest %x", at, sum)
		}
		return at, size
	}
	t.Fatal("there is no root.cfs in the root image")
	return 0, 0
}

// shell finds the object with busybox, which runs the platform's init: the
// largest program of the root.
func (v *victim) shell(t *testing.T) (at, size int64) {
	t.Helper()
	const text = "BusyBox v1."
	i := bytes.Index(v.image, []byte(text))
	if i < 0 {
		t.Fatalf("no program of the root image says %q", text)
	}
	for at = int64(i) / block * block; at > 0; at -= block {
		if bytes.HasPrefix(v.image[at:], []byte("\x7fELF\x02\x01")) {
			return at, int64(i) - at
		}
	}
	t.Fatal("busybox has no beginning")
	return 0, 0
}

// rootPartition changes a byte of root.cfs on a disk, as its users have it.
func rootPartition(t *testing.T, v *victim) []string {
	t.Helper()
	name := "minimal-" + v.arch.Name + ".img"
	disk, err := os.ReadFile(filepath.Join(v.dir, "raw", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	_, text, _ := strings.Cut(run(t, "gdisk", "sgdisk", "-i", "2", filepath.Join(v.dir, "raw", name)), "First sector: ")
	text, _, _ = strings.Cut(text, " ")
	sector, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	at, size := v.rootCFS(t)
	disk[sector*512+at+size/2] ^= 1
	if err := os.WriteFile(path, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	args := append(vm.Base(v.arch, 0), vm.Firmware(v.arch, "")...)
	return append(args, "-drive", "if=none,id=d0,snapshot=on,format=raw,file="+vm.Escape(path), "-device", "virtio-blk-pci,drive=d0,bootindex=0")
}

// largeRoot is the minimal platform with a large file.
func largeRoot(t *testing.T) string {
	dir := variant(t, func(yaml string) string { return yaml + "families: [kernel-initrd]\n" })
	if err := os.WriteFile(filepath.Join(dir, "overlay", "large"), make([]byte, 48<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tooLittleMemory boots a large root in memory. Half of what is free when the
// kernel unpacks the initrds may hold files: with twice the root's size and what
// the kernel needs, the initramfs fits and the root doesn't.
func tooLittleMemory(t *testing.T, v *victim) []string {
	t.Helper()
	info, err := os.Stat(filepath.Join(v.large, "kernel-initrd", "root.cpio"))
	if err != nil {
		t.Fatal(err)
	}
	return v.direct(t, v.large, int(2*info.Size()>>20)+64, readManifest(t, v.large).Cmdline, "initramfs.cpio.zst", "root.cpio")
}
