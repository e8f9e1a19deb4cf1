// Package cmdline reads the kernel command line, /proc/cmdline, for init's own
// parameters. Whoever can change the root must not be able to change them: they
// are signed with the UKI, or come from the boot loader's own file.
package cmdline

import (
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

// The parameters. Digests are 64 lower-case hexadecimal digits.
const (
	Composefs  = "composefs"            // fs-verity digest of root.cfs
	RootHash   = "bootsmith.roothash"   // dm-verity root hash of root.img
	RootBlocks = "bootsmith.rootblocks" // data blocks of root.img, in decimal
	Debug      = "bootsmith.debug"      // tell every step
	Verify     = "bootsmith.verify"     // "full": read every block of root.img at boot
	HaltBy     = "bootsmith.halt"       // "poweroff", "reboot" or "wait"
	Persist    = "bootsmith.persist"    // name of the partition for /etc and /var
	Init       = "init"                 // the program to start in the root
)

// Halt says what to do with the machine after a failed boot.
type Halt string

// The ways to halt. Wait leaves the message on the screen for good.
const (
	PowerOff Halt = "poweroff"
	Reboot   Halt = "reboot"
	Wait     Halt = "wait"
)

// minBlocks is a root image's least number of data blocks. One block has no
// hash block, which is what an image is recognised by.
const minBlocks = 2

// maxBlocks keeps the image's size in bytes, hash tree included, in an int64.
const maxBlocks = 1 << 48

// Settings are the parameters that init takes.
type Settings struct {
	// Composefs and RootHash are the digests that the root must have.
	Composefs, RootHash [32]byte
	// RootBlocks counts the data blocks, of 4096 bytes, of the root image.
	RootBlocks int64
	// Init is the program to start, or empty.
	Init string
	// Persist is the name of the partition that keeps what is written to /etc and
	// /var, or empty.
	Persist    string
	Debug      bool
	VerifyFull bool
	Halt       Halt
}

// Parse reads a kernel command line. With an error, Debug and Halt are still
// right. A parameter that appears with two different values is an error.
func Parse(line string) (Settings, error) {
	params := split(line)
	s := Settings{Halt: PowerOff}
	_, s.Debug, _ = find(params, Debug)
	return s, errors.Join(s.parseHalt(params), s.parseRoot(params))
}

func (s *Settings) parseHalt(params []param) error {
	value, ok, err := find(params, HaltBy)
	if err != nil || !ok {
		return err
	}
	switch h := Halt(value); h {
	case PowerOff, Reboot, Wait:
		s.Halt = h
		return nil
	}
	return remedy.Errorf("use poweroff, reboot or wait", "the kernel parameter %s=%q is not known", HaltBy, value)
}

func (s *Settings) parseRoot(params []param) (err error) {
	if s.Composefs, err = digest(params, Composefs); err != nil {
		return err
	}
	if s.RootHash, err = digest(params, RootHash); err != nil {
		return err
	}
	if s.RootBlocks, err = blocks(params); err != nil {
		return err
	}
	if s.Init, _, err = find(params, Init); err != nil {
		return err
	}
	if s.Persist, err = persist(params); err != nil {
		return err
	}
	value, ok, err := find(params, Verify)
	if err == nil && ok && value != "full" {
		err = remedy.Errorf("use full or leave it away", "the kernel parameter %s=%q is not known", Verify, value)
	}
	s.VerifyFull = ok
	return err
}

// find returns a parameter's value and whether it is there.
func find(params []param, key string) (value string, ok bool, err error) {
	for _, p := range params {
		if p.key != key {
			continue
		}
		if ok && p.value != value {
			return "", true, remedy.Errorf("leave only the one that belongs to this root image",
				"the kernel command line has both %s=%q and %s=%q", key, value, key, p.value)
		}
		value, ok = p.value, true
	}
	return value, ok, nil
}

func required(params []param, key, kind string) (string, error) {
	value, ok, err := find(params, key)
	if err == nil && !ok {
		err = remedy.Errorf("add "+key+"=<"+kind+"> as in the file cmdline that was built with this root",
			"the kernel command line has no %s=", key)
	}
	return value, err
}

func digest(params []param, key string) (d [32]byte, err error) {
	const kind = "64 lower-case hexadecimal digits"
	value, err := required(params, key, kind)
	if err != nil {
		return d, err
	}
	raw, err := hex.DecodeString(value)
	if err != nil || len(raw) != len(d) || hex.EncodeToString(raw) != value {
		return d, badValue(key, value, kind)
	}
	return [32]byte(raw), nil
}

func blocks(params []param) (int64, error) {
	const kind = "number of 4096-byte blocks, in decimal"
	value, err := required(params, RootBlocks, kind)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != value || n < minBlocks || n > maxBlocks {
		return 0, badValue(RootBlocks, value, kind)
	}
	return n, nil
}

// maxLabel is the length of an ext4 label, in bytes.
const maxLabel = 16

func persist(params []param) (string, error) {
	value, ok, err := find(params, Persist)
	if err == nil && ok && (value == "" || len(value) > maxLabel) {
		err = remedy.Errorf("give the name of a partition, up to 16 bytes, or leave it away",
			"the kernel parameter %s=%q is not valid", Persist, value)
	}
	return value, err
}

func badValue(key, value, kind string) error {
	return remedy.Errorf("give "+kind+", as in the file cmdline that was built with this root",
		"the kernel parameter %s=%q is not valid", key, value)
}
