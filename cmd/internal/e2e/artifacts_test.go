package e2e_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/families"
)

var (
	cpio        = reader{"cpio", "cpio"}
	fsckEROFS   = reader{"erofs-utils", "fsck.erofs"}
	fsckVFAT    = reader{"dosfstools", "fsck.vfat"}
	isoinfo     = reader{"genisoimage", "isoinfo"}
	mcopy       = reader{"mtools", "mcopy"}
	qemuImg     = reader{"qemu-utils", "qemu-img"}
	sgdisk      = reader{"gdisk", "sgdisk"}
	sha256sum   = reader{"coreutils", "sha256sum"}
	skopeo      = reader{"skopeo", "skopeo"}
	umoci       = reader{"umoci", "umoci"}
	veritysetup = reader{"cryptsetup-bin", "veritysetup"}
	xorriso     = reader{"xorriso", "xorriso"}
	zstd        = reader{"zstd", "zstd"}
)

// foreignChecks gives the families' artifacts to programs that know nothing of
// bootsmith.
func foreignChecks() map[string]func(*testing.T, artifacts) {
	return map[string]func(*testing.T, artifacts){
		"kernel-initrd": checkKernelInitrd, "raw": checkRaw, "iso": checkISO,
		"ipxe": checkIPXE, "qcow2": checkQcow2, "oci": checkOCI,
	}
}

// TestArtifactsUnderForeignReaders does so with every artifact of both
// architectures.
func TestArtifactsUnderForeignReaders(t *testing.T) {
	checks := foreignChecks()
	eachArch(t, func(t *testing.T, a artifacts) {
		if !slices.Equal(a.manifest.Variants, families.Default()) {
			t.Errorf("built %q of %q", a.manifest.Variants, families.Default())
		}
		for _, name := range families.Default() {
			t.Run(name, func(t *testing.T) {
				if checks[name] == nil {
					t.Fatal("nobody else's reader checks this family")
				}
				checks[name](t, a)
			})
		}
	})
}

// TestChecksums lets sha256sum check every file, and looks for files that
// nothing vouches for.
func TestChecksums(t *testing.T) {
	eachArch(t, func(t *testing.T, a artifacts) {
		sha256sum.run(t, a.dir, "--check", "--strict", "--quiet", "SHA256SUMS")
		sums := string(readFile(t, a.path("SHA256SUMS")))
		paths, err := listFiles(a.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			info, err := os.Stat(a.path(path))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().IsRegular() && path != "SHA256SUMS" && !strings.Contains(sums, "  "+path+"\n") {
				t.Errorf("SHA256SUMS lacks %s", path)
			}
			file, listed := a.manifest.Artifacts[path]
			if listed && file.SizeBytes != info.Size() {
				t.Errorf("%s has %d bytes, the manifest says %d", path, info.Size(), file.SizeBytes)
			}
		}
	})
}

// checkKernelInitrd reads the parts: the root image through fsck.erofs and
// veritysetup, both initrds through cpio.
func checkKernelInitrd(t *testing.T, a artifacts) {
	root := a.path("kernel-initrd/root.img")
	checkRootImage(t, a, root)

	initramfs := a.path("kernel-initrd/initramfs.cpio.zst")
	zstd.run(t, "", "--test", "--quiet", initramfs)
	plain := zstd.run(t, "", "--decompress", "--stdout", "--quiet", initramfs)
	names := strings.Fields(string(cpio.feed(t, "", bytes.NewReader(plain), "--list", "--quiet")))
	if !slices.Contains(names, "init") {
		t.Errorf("the initramfs has no init: %q", names)
	}
	if !slices.ContainsFunc(names, func(n string) bool {
		return strings.HasPrefix(n, "lib/modules/"+a.manifest.KernelVersion+"/") && strings.Contains(n, "dm-verity.ko")
	}) {
		t.Errorf("the initramfs has no dm-verity of kernel %s", a.manifest.KernelVersion)
	}

	second, err := os.Open(a.path("kernel-initrd/root.cpio"))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	inside := cpio.feed(t, "", second, "--extract", "--to-stdout", "--quiet", "root.img")
	if sumOf(t, bytes.NewReader(inside)) != sumOfFile(t, root) {
		t.Error("root.cpio holds another root.img")
	}
	if got := string(readFile(t, a.path("kernel-initrd/cmdline"))); got != a.manifest.Cmdline+"\n" {
		t.Errorf("cmdline is %q, the manifest says %q", got, a.manifest.Cmdline)
	}
}

// checkRootImage checks the file system, and its bytes against the dm-verity
// root hash.
func checkRootImage(t *testing.T, a artifacts, root string) {
	t.Helper()
	blocks, err := strconv.ParseInt(cmdlineValue(t, a, "bootsmith.rootblocks"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	fsckEROFS.run(t, "", root)
	veritysetup.run(t, "", "verify", root, root, a.manifest.RootHash, "--hash-offset", strconv.FormatInt(blocks*4096, 10))
}

// cmdlineValue returns a kernel parameter's value from the manifest.
func cmdlineValue(t *testing.T, a artifacts, name string) string {
	t.Helper()
	for parameter := range strings.FieldsSeq(a.manifest.Cmdline) {
		if value, found := strings.CutPrefix(parameter, name+"="); found {
			return value
		}
	}
	t.Fatalf("the command line %q lacks %s", a.manifest.Cmdline, name)
	return ""
}

// checkIPXE has no reader of scripts: it follows the script to the files that
// it names, which must be there.
func checkIPXE(t *testing.T, a artifacts) {
	script := string(readFile(t, a.path("ipxe/boot.ipxe")))
	base, loads := "", 0
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		switch {
		case len(words) == 3 && words[0] == "set" && words[1] == "base":
			base = words[2]
		case len(words) > 3 && (words[0] == "kernel" || words[0] == "initrd"):
			name := strings.ReplaceAll(words[3], "${base}", base)
			if _, err := os.Stat(filepath.Join(a.dir, "ipxe", name)); err != nil {
				t.Errorf("the script loads what isn't there: %v", err)
			}
			loads++
		}
	}
	if !strings.HasPrefix(script, "#!ipxe\n") || loads != 3 {
		t.Errorf("the script loads %d files:\n%s", loads, script)
	}
}

// TestOneRootDigest finds the same two digests wherever a boot or a consumer
// would look for them.
func TestOneRootDigest(t *testing.T) {
	digests := map[string]string{}
	eachArch(t, func(t *testing.T, a artifacts) {
		m := a.manifest
		if m.FsverityRootHash != m.ComposefsDigest || len(m.ComposefsDigest) != 64 {
			t.Errorf("the manifest says %q and %q", m.FsverityRootHash, m.ComposefsDigest)
		}
		if got := cmdlineValue(t, a, "composefs"); got != m.ComposefsDigest {
			t.Errorf("the command line says %s", got)
		}
		if got := cmdlineValue(t, a, "bootsmith.roothash"); got != m.RootHash {
			t.Errorf("the command line says %s", got)
		}
		uki := ukiOf(t, a, a.main(t, "raw"))
		for name, text := range map[string]string{
			"cmdline": string(readFile(t, a.path("kernel-initrd/cmdline"))),
			"UKI":     string(uki.section(t, ".cmdline")),
			"iPXE":    kernelLine(string(readFile(t, a.path("ipxe/boot.ipxe")))),
		} {
			if !strings.Contains(strings.TrimRight(text, "\x00\n"), m.Cmdline) {
				t.Errorf("the command line of %s is %q, the manifest's %q", name, text, m.Cmdline)
			}
		}
		checkImageDigests(t, a)
		digests[m.ComposefsDigest] = a.arch.Name
	})
	if len(digests) != len(arch.All()) {
		t.Errorf("architectures share a root: %v", digests)
	}
}

// kernelLine returns the line of an iPXE script that has the command line.
func kernelLine(script string) string {
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "kernel ") {
			return line
		}
	}
	return ""
}

// copyOf reads a stream to its end.
func copyOf(t *testing.T, r io.Reader) []byte {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
