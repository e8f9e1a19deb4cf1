package bootstrap

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

// binfmtDir is where the kernel tells which interpreters run which programs
// (Documentation/admin-guide/binfmt-misc.rst).
const binfmtDir = "proc/sys/fs/binfmt_misc"

// checkEmulation tells whether the host runs programs of another architecture:
// whether an enabled handler takes such programs, and does so in a chroot, too,
// which flag F (fix binary) is for.
func (h Host) checkEmulation(a arch.Arch) error {
	problem := func(format string, args ...any) *fault.Error {
		return fault.Toolf("bootstrapping the root of %s on %s: %s", a.Name, h.Arch, fmt.Sprintf(format, args...))
	}
	install := fmt.Sprintf("run apt-get install qemu-user-static and sh -c 'cat /usr/lib/binfmt.d/qemu-%s.conf > /%s/register' as root", a.Machine, binfmtDir)
	status, err := fs.ReadFile(h.Root, binfmtDir+"/status")
	if err != nil {
		return problem("binfmt_misc is not mounted, so that no emulator can be found").
			WithFix("run mount -t binfmt_misc binfmt_misc /%s as root, then %s", binfmtDir, install)
	}
	if strings.TrimSpace(string(status)) != "enabled" {
		return problem("binfmt_misc is disabled").WithFix("run sh -c 'echo 1 > /%s/status' as root", binfmtDir)
	}
	entries, err := fs.ReadDir(h.Root, binfmtDir)
	if err != nil {
		return problem("%v", err)
	}
	found := problem("no handler in /%s takes its programs", binfmtDir).WithFix("%s", install)
	for _, e := range entries {
		data, err := fs.ReadFile(h.Root, binfmtDir+"/"+e.Name())
		if err != nil {
			continue // "register" can't be read
		}
		b := parseHandler(string(data))
		switch {
		case !b.takes(programHeader(a)):
		case !b.enabled:
			found = problem("the handler %s is disabled", e.Name()).WithFix("run sh -c 'echo 1 > /%s/%s' as root", binfmtDir, e.Name())
		case !strings.Contains(b.flags, "F"):
			found = problem("the handler %s doesn't work in a chroot, as it lacks the flag F", e.Name()).
				WithFix("remove it with sh -c 'echo -1 > /%s/%s', then %s", binfmtDir, e.Name(), install)
		default:
			return nil
		}
	}
	return found
}

// programHeader returns the first bytes of an executable (elf(5)): 64 bits,
// little-endian, type EXEC.
func programHeader(a arch.Arch) []byte {
	header := make([]byte, 20)
	copy(header, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(header[16:], 2)
	binary.LittleEndian.PutUint16(header[18:], a.ELFMachine)
	return header
}

// handler is an entry of binfmt_misc.
type handler struct {
	enabled     bool
	flags       string
	offset      int
	magic, mask []byte // both nil: it goes by the file's name
}

// parseHandler reads an entry as the kernel prints it (fs/binfmt_misc.c,
// entry_status). What it doesn't know it leaves out.
func parseHandler(text string) handler {
	var h handler
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "enabled":
			h.enabled = true
		case "flags:":
			h.flags = value
		case "offset":
			h.offset, _ = strconv.Atoi(value)
		case "magic":
			h.magic, _ = hex.DecodeString(value)
		case "mask":
			h.mask, _ = hex.DecodeString(value)
		}
	}
	return h
}

// takes tells whether the handler takes a program that begins with header.
func (h handler) takes(header []byte) bool {
	if len(h.magic) == 0 || h.offset < 0 || h.offset > len(header) || len(header)-h.offset < len(h.magic) {
		return false
	}
	for i, want := range h.magic {
		mask := byte(0xff)
		if i < len(h.mask) {
			mask = h.mask[i]
		}
		if (header[h.offset+i]^want)&mask != 0 {
			return false
		}
	}
	return true
}
