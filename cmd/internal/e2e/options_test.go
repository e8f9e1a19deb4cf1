package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

var (
	openssl  = reader{"openssl", "openssl"}
	sbverify = reader{"sbsigntool", "sbverify"}
	sfdisk   = reader{"fdisk", "sfdisk"}
	softhsm  = reader{"softhsm2", "softhsm2-util"}
	tarTool  = reader{"tar", "tar"}
)

// options writes a definition with everything that shapes disks and what boots,
// and returns its folder.
func options(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "definition")
	if err := copyDefinition(dir, 1, 0); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"esp/identity.cfg": "id=7\n", "esp/certs/authority of this site.pem": "authority\n",
		"added/lib/firmware/acme/nic.bin": "firmware\n",
		"pi/boot/start4.elf":              "start\n", "pi/boot/fixup4.dat": "fixup\n", "pi/boot/overlays/disable-bt.dtbo": "overlay\n",
		"pi/README": "not beside start4.elf\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tarTool.run(t, dir, "-czf", "pi.tar.gz", "pi")
	openssl.run(t, dir, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Test", "-keyout", "key.pem", "-out", "certificate.pem")
	path := filepath.Join(dir, "platform.yaml")
	text := strings.Replace(string(readFile(t, path)), "linux-image-cloud-${arch}", "linux-image-${arch}", 1) + `
families: [kernel-initrd, raw, disk-image-rpi4]
esp: ./esp
disk: {size: 512MiB}
initramfs: {modules: [btrfs, dm-crypt], files: ./added}
secure_boot: {certificate: certificate.pem, key: key.pem}
rpi4: {firmware: pi.tar.gz, config: [gpu_mem=16]}
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOptions builds with a key in a file, and again with the same key in a
// token: every byte is the same.
func TestOptions(t *testing.T) {
	first, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	dir := options(t)
	output := filepath.Join(t.TempDir(), "one")
	variables := map[string]string{"SOURCE_DATE_EPOCH": "1700000000", cli.MirrorVariable: os.Getenv(cli.MirrorVariable)}
	buildWith := func(output string, flags ...string) {
		t.Helper()
		args := append([]string{"build", "--file", dir, "--arch", "arm64", "--cache-dir", first.cache, "--output-dir", output}, flags...)
		if got := bootsmith(t.Context(), variables, args...); got.Code != 0 {
			t.Fatalf("%q ended with %d:\n%s", args, got.Code, got.stderr)
		}
	}
	buildWith(output)
	a, err := arch.Lookup("arm64")
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Read(filepath.Join(output, a.Name))
	if err != nil {
		t.Fatal(err)
	}
	built := artifacts{dir: filepath.Join(output, a.Name), arch: a, manifest: m}
	t.Run("disk", func(t *testing.T) { checkOptionsDisk(t, built, dir) })
	t.Run("initramfs", func(t *testing.T) { checkOptionsInitramfs(t, built) })
	t.Run("rpi4", func(t *testing.T) { checkOptionsRPi4(t, built, dir) })
	t.Run("secrecy", func(t *testing.T) { checkSecrecy(t, built, dir, first.cache) })
	t.Run("token", func(t *testing.T) {
		variables["BOOTSMITH_SECURE_BOOT_PIN"] = "1234"
		second := filepath.Join(t.TempDir(), "two")
		buildWith(second, "--secure-boot-key", newToken(t, dir))
		if !bytes.Equal(readFile(t, built.path("SHA256SUMS")), readFile(t, filepath.Join(second, a.Name, "SHA256SUMS"))) {
			t.Error("the key in the token gives other bytes than the key in the file")
		}
	})
}

// checkOptionsDisk checks the size, the definition's files on the EFI system
// partition and the UKI's signature.
func checkOptionsDisk(t *testing.T, a artifacts, dir string) {
	checkRaw(t, a)
	disk := a.main(t, "raw")
	if info, err := os.Stat(disk); err != nil || info.Size() != 512<<20 {
		t.Errorf("%v, %v", info, err)
	}
	esp := t.TempDir()
	mcopy.run(t, "", "-s", "-i", fmt.Sprintf("%s@@%d", disk, partitionOf(t, disk, 1).start), "::/", esp)
	for _, name := range []string{"identity.cfg", "certs/authority of this site.pem"} {
		if !bytes.Equal(readFile(t, filepath.Join(esp, name)), readFile(t, filepath.Join(dir, "esp", name))) {
			t.Errorf("%s differs", name)
		}
	}
	sbverify.run(t, "", "--cert", filepath.Join(dir, "certificate.pem"), filepath.Join(esp, "EFI/BOOT", a.arch.EFIBootFile))
}

func checkOptionsInitramfs(t *testing.T, a artifacts) {
	archive := zstd.run(t, "", "-dcq", a.path("kernel-initrd/initramfs.cpio.zst"))
	listing := strings.Split(string(cpio.feed(t, "", bytes.NewReader(archive), "-t", "--quiet")), "\n")
	modules := "lib/modules/" + a.manifest.KernelVersion + "/kernel/"
	for _, want := range []string{
		"lib/firmware/acme/nic.bin", modules + "fs/btrfs/btrfs.ko.xz", modules + "drivers/md/dm-crypt.ko.xz",
		modules + "drivers/mmc/host/sdhci-iproc.ko.xz",
	} {
		if !slices.Contains(listing, want) {
			t.Errorf("the initramfs lacks %s", want)
		}
	}
}

// checkOptionsRPi4 takes the boot partition out with mtools.
func checkOptionsRPi4(t *testing.T, a artifacts, dir string) {
	disk := a.main(t, "disk-image-rpi4")
	table := string(sfdisk.run(t, "", "--dump", disk))
	if !strings.Contains(table, "label: dos") || !strings.Contains(table, "start=        2048") || !strings.Contains(table, "type=83") {
		t.Errorf("sfdisk says\n%s", table)
	}
	boot := t.TempDir()
	mcopy.run(t, "", "-s", "-i", disk+"@@1M", "::/", boot)
	for ours, theirs := range map[string]string{
		"start4.elf":               filepath.Join(dir, "pi/boot/start4.elf"),
		"overlays/disable-bt.dtbo": filepath.Join(dir, "pi/boot/overlays/disable-bt.dtbo"),
		"identity.cfg":             filepath.Join(dir, "esp/identity.cfg"),
		"vmlinuz":                  a.path("kernel-initrd/vmlinuz"),
		"initramfs.cpio.zst":       a.path("kernel-initrd/initramfs.cpio.zst"),
	} {
		if !bytes.Equal(readFile(t, filepath.Join(boot, ours)), readFile(t, theirs)) {
			t.Errorf("%s differs", ours)
		}
	}
	if tree := readFile(t, filepath.Join(boot, "bcm2711-rpi-4-b.dtb")); !bytes.HasPrefix(tree, []byte("\xd0\x0d\xfe\xed")) || !bytes.Contains(tree, []byte("raspberrypi,4-model-b")) {
		t.Error("bcm2711-rpi-4-b.dtb is no device tree of the Raspberry Pi 4")
	}
	if config := string(readFile(t, filepath.Join(boot, "config.txt"))); !strings.HasSuffix(config, "upstream_kernel=1\ngpu_mem=16\n") {
		t.Errorf("config.txt is\n%s", config)
	}
	line := string(readFile(t, filepath.Join(boot, "cmdline.txt")))
	if want := strings.Replace(a.manifest.Cmdline, "console=ttyAMA0", "console=ttyS1,115200", 1) + "\n"; line != want {
		t.Errorf("cmdline.txt is %q, want %q", line, want)
	}
	if _, err := os.Stat(filepath.Join(boot, "README")); err == nil {
		t.Error("a file from beside the firmware's folder is there")
	}
}

// checkSecrecy looks for the private key, as text and as bytes, in what was
// written and in the cache's small files.
func checkSecrecy(t *testing.T, a artifacts, dir, cache string) {
	secret := strings.Split(string(readFile(t, filepath.Join(dir, "key.pem"))), "\n")[3]
	for _, root := range []string{a.dir, filepath.Join(cache, "resolved"), filepath.Join(cache, "stages"), filepath.Join(cache, "blobs")} {
		if _, err := os.Stat(root); err != nil {
			continue
		}
		out, err := exec.Command("grep", "-rlF", "-e", secret, root).CombinedOutput()
		if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 1 {
			t.Errorf("looking for the key: %v: %s", err, out)
		}
	}
}

// newToken puts the definition's key into a token and returns its URI.
func newToken(t *testing.T, dir string) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "softhsm2.conf")
	if err := os.WriteFile(config, []byte("directories.tokendir = "+t.TempDir()+"\nobjectstore.backend = file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	for _, args := range [][]string{
		{"--init-token", "--free", "--label", "release", "--pin", "1234", "--so-pin", "5678"},
		{"--import", filepath.Join(dir, "key.pem"), "--token", "release", "--label", "uki", "--id", "01", "--pin", "1234"},
	} {
		if out, err := exec.Command(softhsm.find(t), args...).CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util %q: %v\n%s", args, err, out)
		}
	}
	reader{"opensc", "pkcs11-tool"}.find(t)
	return "pkcs11:token=release;object=uki;type=private?module-path=/usr/lib/softhsm/libsofthsm2.so"
}
