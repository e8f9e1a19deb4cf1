//go:build boot

package vm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

// secureFirmware is firmware with Secure Boot on. Its variables have the key in
// the database that its packages ship, with the private half, for tests.
type secureFirmware struct {
	args             []string // that protect the variables
	code, vars       string
	key, certificate string
}

func secureFirmwareOf(a arch.Arch) secureFirmware {
	if a.Name == "amd64" {
		const dir = "/usr/share/ovmf/PkKek-1-snakeoil"
		return secureFirmware{
			// The firmware writes variables in system management mode only.
			args: []string{"-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"},
			code: "/usr/share/OVMF/OVMF_CODE_4M.snakeoil.fd", vars: "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd",
			key: dir + ".key", certificate: dir + ".pem",
		}
	}
	const dir = "/usr/share/qemu-efi-aarch64/PkKek-1-snakeoil"
	return secureFirmware{
		code: "/usr/share/AAVMF/AAVMF_CODE.snakeoil.fd", vars: "/usr/share/AAVMF/AAVMF_VARS.snakeoil.fd",
		key: dir + ".key", certificate: dir + ".pem",
	}
}

// machine returns QEMU's arguments for a disk.
func (s secureFirmware) machine(a arch.Arch, disk string) []string {
	a.QEMU.Code = s.code
	args := append(vm.Base(a, 0), s.args...)
	args = append(args, vm.Firmware(a, s.vars)...)
	return append(args, "-drive", "if=none,id=d0,snapshot=on,format=raw,file="+disk, "-device", "virtio-blk-pci,drive=d0,bootindex=0")
}

// refused is what firmware says of a program that it doesn't start.
const refused = ": Access Denied"

// TestBootSecure boots disks on firmware with Secure Boot: it starts the UKI
// that the key in its database signed, and refuses one that nobody signed, one
// by another key, and one with a byte of the command line changed.
func TestBootSecure(t *testing.T) {
	for _, a := range arch.All() {
		firmware := secureFirmwareOf(a)
		key := decrypted(t, firmware.key)
		ownKey, ownCertificate := newSecureBootKey(t)
		image := func(flags ...string) string {
			out := buildPlatform(t, definition, append(flags, "--variants", "raw", "--arch", a.Name)...)
			return filepath.Join(out, a.Name, "raw", "minimal-"+a.Name+".img")
		}
		signed := image("--secure-boot-key", key, "--secure-boot-cert", firmware.certificate)
		checkSignature(t, a, signed, firmware.certificate)
		cases := []struct {
			name, disk string
			steps      []step
		}{
			{"signed", signed, []step{
				{"", "root verified composefs="}, started,
				{"busybox dmesg | busybox grep -q 'locked down from EFI Secure Boot' && echo locked-$((6*7))", "locked-42"},
			}},
			{"unsigned", image(), []step{{"", refused}}},
			{"signed by another key", image("--secure-boot-key", ownKey, "--secure-boot-cert", ownCertificate), []step{{"", refused}}},
			{"changed", changed(t, signed), []step{{"", refused}}},
		}
		inParallel(t, machines, len(cases), func(t *testing.T, i int) (string, func(*testing.T)) {
			c := cases[i]
			return a.Name + "/" + c.name, func(t *testing.T) {
				converseWith(t, a, func() []string { return firmware.machine(a, c.disk) }, c.steps)
			}
		})
	}
}

// decrypted returns a copy of the packages' key without its passphrase.
func decrypted(t *testing.T, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	run(t, "openssl", "openssl", "pkey", "-in", key, "-passin", "pass:snakeoil", "-out", path)
	return path
}

func newSecureBootKey(t *testing.T) (key, certificate string) {
	t.Helper()
	dir := t.TempDir()
	key, certificate = filepath.Join(dir, "key.pem"), filepath.Join(dir, "certificate.pem")
	run(t, "openssl", "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Another", "-keyout", key, "-out", certificate)
	return key, certificate
}

// checkSignature lets sbverify judge the UKI on a disk.
func checkSignature(t *testing.T, a arch.Arch, disk, certificate string) {
	t.Helper()
	uki := filepath.Join(t.TempDir(), "uki.efi")
	run(t, "mtools", "mcopy", "-i", disk+"@@1M", "::EFI/BOOT/"+a.EFIBootFile, uki)
	if out := run(t, "sbsigntool", "sbverify", "--cert", certificate, uki); !strings.Contains(out, "Signature verification OK") {
		t.Error(out)
	}
}

// changed copies a disk and changes a digit of the root digest in the UKI.
func changed(t *testing.T, disk string) string {
	t.Helper()
	data, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("composefs="))
	if at < 0 {
		t.Fatal("the disk has no command line")
	}
	data[at+len("composefs=")] ^= 1
	path := filepath.Join(t.TempDir(), "changed.img")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
