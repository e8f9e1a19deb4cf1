package builder

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/tree"
)

// mountPoints are the directories of the root that bootsmith-init needs.
var mountPoints = []string{"dev", "proc", "run", "sys"}

// inits are the programs that bootsmith-init starts: the first that is there,
// unless a parameter names another one.
var inits = []string{"/sbin/init", "/usr/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd"}

// checkBootable makes sure that bootsmith-init finds in the root what it needs to
// go on. init is the program that a kernel parameter names, or "".
func (b *targetBuild) checkBootable(t *tree.Tree, init string) error {
	var missing []string
	for _, dir := range mountPoints {
		if n, err := t.Lookup(dir); err != nil || !n.Inode.IsDir() {
			missing = append(missing, "/"+dir)
		}
	}
	if len(missing) > 0 {
		return fault.Inputf("checking the root: it can't boot without the directories %s", strings.Join(missing, ", ")).
			WithFix("make them where the root is made, empty, or in the folder of files")
	}
	candidates := inits
	if init != "" {
		candidates = []string{init}
	}
	var wrong error // with the first that is there
	for _, path := range candidates {
		n := findProgram(t, path)
		if n == nil {
			continue
		}
		err := b.checkProgram(t, path, n)
		if err == nil {
			return nil
		}
		wrong = cmp.Or(wrong, err)
	}
	if wrong != nil {
		return wrong
	}
	return fault.Inputf("checking the root: it can't boot without an init: there is no executable file %s", strings.Join(candidates, ", nor ")).
		WithFix("put an init system into the root, or name a program of it with init= in cmdline")
}

// findProgram returns an executable file, or nil.
func findProgram(t *tree.Tree, path string) *tree.Node {
	n, err := t.Resolve(path)
	if err != nil || !n.Inode.IsRegular() || n.Inode.Mode&0o111 == 0 {
		return nil
	}
	return n
}

// Of a program's beginning, in bytes: what the kernel looks at (BINPRM_BUF_SIZE of
// include/uapi/linux/binfmts.h), and where a 64-bit little-endian ELF header has
// e_machine. Interpreters may be scripts, maxInterpreters times (fs/exec.c).
const (
	programHead     = 256
	elfMachineAt    = 18
	elf64Little     = "\x7fELF\x02\x01"
	maxInterpreters = 5
)

// checkProgram makes sure that a program, or what interprets it, is for the
// architecture.
func (b *targetBuild) checkProgram(t *tree.Tree, path string, n *tree.Node) error {
	for range maxInterpreters {
		head, err := b.readHead(n)
		if err != nil {
			return fmt.Errorf("checking the root: reading %s: %w", path, err)
		}
		script, isScript := strings.CutPrefix(head, "#!")
		if !isScript {
			return b.checkMachine(path, head)
		}
		line, _, _ := strings.Cut(script, "\n")
		words := strings.Fields(line)
		if len(words) == 0 {
			return nil
		}
		next := findProgram(t, words[0])
		if next == nil {
			return fault.Inputf("checking the root: it can't boot: %s needs %s, which is no executable file of the root", path, words[0]).
				WithFix("put the interpreter into the root")
		}
		path, n = words[0], next
	}
	return nil
}

func (b *targetBuild) readHead(n *tree.Node) (string, error) {
	r, err := b.config.Store.Open(n.Inode.Content)
	if err != nil {
		return "", err
	}
	defer r.Close()
	head, err := io.ReadAll(io.LimitReader(r, programHead))
	return string(head), err
}

func (b *targetBuild) checkMachine(path, head string) error {
	if !strings.HasPrefix(head, elf64Little) || len(head) < elfMachineAt+2 {
		return nil
	}
	machine := binary.LittleEndian.Uint16([]byte(head[elfMachineAt:]))
	if machine == b.arch.ELFMachine {
		return nil
	}
	made := fmt.Sprintf("another CPU (ELF machine %d)", machine)
	for _, a := range arch.All() {
		if a.ELFMachine == machine {
			made = a.Name
		}
	}
	return fault.Inputf("checking the root: it can't boot: %s is for %s, not for %s", path, made, b.arch.Name).
		WithFix("give the root for %s, with ${arch} in its path perhaps, or list in architectures what the root is for", b.arch.Name)
}

// init returns the program that the kernel parameters name, "" for none.
func (t Target) init() string {
	init := ""
	for _, p := range t.Cmdline {
		if value, ok := strings.CutPrefix(p, "init="); ok {
			init = value
		}
	}
	return init
}
