package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Initramfs is what a definition adds to the initramfs.
type Initramfs struct {
	Modules []string `yaml:"modules" doc:"kernel modules to load at boot besides the usual ones; each must exist, as a module or built in"`
	Files   string   `yaml:"files" doc:"folder whose files are added, for example firmware below lib/firmware"`
}

// SecureBoot says who signs.
type SecureBoot struct {
	Certificate string `yaml:"certificate" doc:"PEM file with the signer's certificate"`
	Key         string `yaml:"key" doc:"PEM file with the private key, or a PKCS#11 URI"`
}

// RPi4 is what a Raspberry Pi 4 needs besides.
type RPi4 struct {
	Firmware string   `yaml:"firmware" doc:"folder or tar archive with start4.elf, fixup4.dat and overlays for the boot partition"`
	Config   []string `yaml:"config" doc:"further lines of config.txt"`
}

// modulePattern is what the kernel's build accepts as a module's name.
var modulePattern = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_-]{0,55}\z`)

func (f *File) validateInitramfs() error {
	for i, name := range f.Initramfs.Modules {
		if !modulePattern.MatchString(name) {
			return f.Bad(fmt.Sprintf("initramfs.modules[%d]", i), "%q is not a module's name", name).
				WithFix("write the name without folder and .ko")
		}
	}
	return nil
}

func (f *File) validateSecureBoot() error {
	if f.SecureBoot.Key != "" && f.SecureBoot.Certificate == "" {
		return f.Bad("secure_boot.certificate", "missing").WithFix("name the certificate of the key")
	}
	return nil
}

// rpi4Settings are settings of config.txt that say what is booted and how.
var rpi4Settings = []string{"arm_64bit", "kernel", "initramfs", "ramfsfile", "ramfsaddr", "cmdline", "device_tree", "os_prefix", "include"}

// maxConfigLine is what the firmware reads of a line of config.txt, in bytes.
const maxConfigLine = 98

func (f *File) validateRPi4() error {
	if f.RPi4 == nil {
		return nil
	}
	if f.RPi4.Firmware == "" {
		return f.Bad("rpi4.firmware", "missing").WithFix("name the folder or tar archive with start4.elf and fixup4.dat")
	}
	for i, line := range f.RPi4.Config {
		field := fmt.Sprintf("rpi4.config[%d]", i)
		setting := strings.FieldsFunc(line, func(r rune) bool { return r == '=' || r == ' ' })
		switch {
		case len(setting) == 0 || len(line) > maxConfigLine || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }):
			return f.Bad(field, "%q is not a line of config.txt", line).WithFix("write one line of up to %d printable ASCII characters per entry", maxConfigLine)
		case slices.Contains(rpi4Settings, setting[0]):
			return f.Bad(field, "%q is set by the build", setting[0]).WithFix("remove it")
		}
	}
	return nil
}
