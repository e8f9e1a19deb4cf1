package builder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/spec"
)

// lockVersion is the version of the lock's form. It changes, too, when a build
// takes other packages for what a definition asks.
const lockVersion = 1

// maxLock bounds what ReadLock takes, in bytes.
const maxLock = 64 << 20

// Lock is the file platform.lock: what a definition asked for, and the packages
// and digests that it came to. A build from it needs no index and no signature,
// and takes the same inputs whatever the archive has by then.
type Lock struct {
	FormatVersion int `json:"format_version"`
	// Asked is the part of the definition that decides on the rest, by field.
	Asked map[string][]string `json:"asked"`
	// Targets are in the order of the definition's architectures.
	Targets []LockedTarget `json:"targets"`

	sha256 string
}

// LockedTarget is the part of a lock for one architecture.
type LockedTarget struct {
	Arch     string   `json:"arch"`
	Packages Packages `json:"packages,omitzero"`
	// Root is the root's source when it is not packages, KernelDigest that of a
	// kernel in files. Times are no part of a folder's digest: a checkout
	// changes them.
	Root         *RootPin `json:"root,omitempty"`
	KernelDigest string   `json:"kernel_digest,omitempty"`
}

// LockPath returns where a definition's lock is: beside it, "platform.lock" for
// "platform.yaml".
func LockPath(f *spec.File) string {
	return strings.TrimSuffix(f.Path, filepath.Ext(f.Path)) + ".lock"
}

// ReadLock reads a lock. One that isn't there is an error that matches
// fs.ErrNotExist; every error is of class fault.Input.
func ReadLock(path string) (*Lock, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Inputf("reading the lock: %w", err).WithFix("run bootsmith lock")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLock+1))
	if err == nil && len(data) > maxLock {
		err = fmt.Errorf("larger than %d bytes", maxLock)
	}
	var l *Lock
	if err == nil {
		l, err = ParseLock(data)
	}
	if fault.ClassOf(err) == fault.Input { // it says what to do
		return nil, fmt.Errorf("reading the lock %q: %w", path, err)
	}
	if err != nil {
		return nil, fault.Inputf("reading the lock %q: %w", path, err).WithFix("restore the file, or delete it and run bootsmith lock")
	}
	return l, nil
}

// ParseLock reads what Encode returned.
func ParseLock(data []byte) (*Lock, error) {
	sum := sha256.Sum256(data)
	l := &Lock{sha256: hex.EncodeToString(sum[:])}
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, err
	}
	if version.FormatVersion > lockVersion {
		return nil, fault.Inputf("its form has version %d, and this bootsmith knows %d", version.FormatVersion, lockVersion).WithFix("use the bootsmith that wrote it, or a newer one")
	}
	if version.FormatVersion != lockVersion {
		return nil, fmt.Errorf("its form has version %d, and this bootsmith knows %d", version.FormatVersion, lockVersion)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(l); err != nil {
		return nil, err
	}
	return l, l.check()
}

// check returns an error when the lock can't be one that Encode wrote.
func (l *Lock) check() error {
	for i, t := range l.Targets {
		if _, err := arch.Lookup(t.Arch); err != nil {
			return err
		}
		if slices.ContainsFunc(l.Targets[:i], func(o LockedTarget) bool { return o.Arch == t.Arch }) {
			return fmt.Errorf("%s stands there twice", t.Arch)
		}
		for _, p := range slices.Concat(t.Packages.Root, t.Packages.Boot()) {
			if err := p.Check(); err != nil {
				return err
			}
			if p.Arch != t.Arch && p.Arch != "all" {
				return fmt.Errorf("package %q is for %s, and stands there for %s", p.Name, p.Arch, t.Arch)
			}
			if p.Repository < 0 || p.Repository > len(t.Packages.Repositories) {
				return fmt.Errorf("package %q is from repository %d, of %d", p.Name, p.Repository, len(t.Packages.Repositories))
			}
		}
	}
	return nil
}

// SHA256 returns the digest of the lock's file, in hex.
func (l *Lock) SHA256() string { return l.sha256 }

// Encode returns the lock as it is stored: one line per package, so that a
// version control system shows which packages moved.
func (l *Lock) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(l, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encoding the lock: %w", err)
	}
	return joinLeaves(b), nil
}

// joinLeaves writes objects that hold no others on one line, and lists of one
// value.
func joinLeaves(indented []byte) []byte {
	var out bytes.Buffer
	lines := strings.Split(string(indented), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if opens(line) {
			end := i + 1
			for !opens(lines[end]) && !closes(lines[end]) {
				end++
			}
			if closes(lines[end]) && (strings.HasSuffix(line, "{") || end == i+2) {
				for _, l := range lines[i+1 : end] {
					line += strings.TrimSpace(l)
					if strings.HasSuffix(l, ",") {
						line += " "
					}
				}
				line += strings.TrimSpace(lines[end])
				i = end
			}
		}
		out.WriteString(line + "\n")
	}
	return out.Bytes()
}

// opens and closes tell lines of indented JSON; those of strings end with a
// quotation mark and begin with one.
func opens(line string) bool {
	return strings.HasSuffix(line, "{") || strings.HasSuffix(line, "[")
}

func closes(line string) bool {
	line = strings.TrimSpace(line)
	return strings.HasPrefix(line, "}") || strings.HasPrefix(line, "]")
}

// Write stores the lock at path, whole or not at all, and sets its digest. Of a
// symlink, the target is written.
func (l *Lock) Write(path string) (err error) {
	data, err := l.Encode()
	if err != nil {
		return err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".lock-")
	if err != nil {
		return fault.Buildf("writing the lock: %w", err).WithFix("let the user write to the definition's folder")
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fault.Buildf("writing the lock %q: %w", path, err)
	}
	sum := sha256.Sum256(data)
	l.sha256 = hex.EncodeToString(sum[:])
	return nil
}

// target returns the part for an architecture, nil when there is none. A nil
// lock has none.
func (l *Lock) target(name string) *LockedTarget {
	if l == nil {
		return nil
	}
	for i := range l.Targets {
		if l.Targets[i].Arch == name {
			return &l.Targets[i]
		}
	}
	return nil
}

// kept returns the packages of a target without those named, each once.
func (t *LockedTarget) kept(leave []string) []apt.Package {
	return slices.DeleteFunc(t.Packages.All(), func(p apt.Package) bool { return slices.Contains(leave, p.Name) })
}
