package spec

import (
	"strings"
	"testing"
)

func TestBootFields(t *testing.T) {
	f, err := Parse("platform.yaml", []byte(minimal+`initramfs: {modules: [dm-crypt, btrfs]}
secure_boot: {certificate: c.pem, key: "pkcs11:object=uki"}
rpi4: {firmware: fw, config: ["[pi4]", gpu_mem=16, "dtoverlay=disable-bt"]}
`))
	if err != nil || len(f.Initramfs.Modules) != 2 || f.SecureBoot.Key == "" || f.RPi4.Firmware != "fw" || len(f.RPi4.Config) != 3 {
		t.Errorf("%+v, %v", f, err)
	}
	for text, want := range map[string]string{
		"initramfs: {modules: [fs/btrfs.ko]}\n":                             `initramfs.modules[0]: "fs/btrfs.ko" is not a module's name`,
		"initramfs: {files: ./nowhere}\n":                                   `initramfs.files: folder "./nowhere" can't be read`,
		"secure_boot: {key: k.pem}\n":                                       "secure_boot.certificate: missing",
		"rpi4: {}\n":                                                        "rpi4.firmware: missing",
		"rpi4: {firmware: fw, config: [\"a=1\\nb=2\"]}\n":                   "is not a line of config.txt",
		"rpi4: {firmware: fw, config: [" + strings.Repeat("a", 99) + "]}\n": "is not a line of config.txt",
		"rpi4: {firmware: fw, config: [\"kernel=mine\"]}\n":                 `rpi4.config[0]: "kernel" is set by the build`,
		"rpi4: {firmware: fw, config: [\"initramfs x followkernel\"]}\n":    `"initramfs" is set by the build`,
	} {
		if _, err := Parse("platform.yaml", []byte(minimal+text)); err == nil || !strings.Contains(err.Error(), "platform.yaml:4: "+want) && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
