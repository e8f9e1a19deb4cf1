// Package bootc checks whether a file tree is a root that bootc can boot, by the
// rules of `bootc container lint` and under their names (bootc 1.16.9,
// crates/lib/src/lints.rs). It needs no container runtime: the tree is what the
// layers of an image make together.
//
// Two rules that bootc applies to a running root only (var-tmpfiles) or to
// another root only (buildah-injected) are applied here to every tree: it is the
// root that will run, and nobody mounts anything over it.
package bootc

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

// Image is what is checked.
type Image struct {
	Tree *tree.Tree
	// Open opens the content of a file that Reads asks for.
	Open func(tree.Content) (io.ReadCloser, error)
}

// Reads tells whether a rule looks into the file at a path, slash-separated and
// relative. The contents of all others are not needed.
func Reads(path string) bool {
	for _, dir := range []string{kargsDir, sysusersDir, tmpfilesDir, etcTmpfilesDir} {
		if strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return path == passwdFile || path == groupFile || strings.HasSuffix(path, "/"+prepareRoot)
}

// Level says how grave it is to break a rule.
type Level string

// The levels. What is Fatal keeps the image from being installed or started.
const (
	Fatal   Level = "fatal"
	Warning Level = "warning"
)

// Rule is one check.
type Rule struct {
	Name        string
	Level       Level
	Description string
	// check returns what is wrong, a line for each thing; an error means that it
	// could not find out.
	check func(Image) ([]string, error)
}

// Rules returns all rules in the order of their names.
func Rules() []Rule {
	return []Rule{
		{"api-base-directories", Fatal, "/dev, /proc, /sys, /run, /tmp and /var are directories", checkAPIDirs},
		{"baseimage-composefs", Warning, "ostree/prepare-root.conf enables composefs", checkComposefs},
		{"baseimage-root", Fatal, "/sysroot is a directory, /ostree a symbolic link to sysroot/ostree", checkBaseRoot},
		{"bootc-kargs", Fatal, "the files in /usr/lib/bootc/kargs.d can be parsed", checkKargs},
		{"buildah-injected", Warning, "no empty /etc/hostname or /etc/resolv.conf, as a container engine leaves them", checkInjected},
		{"etc-usretc", Fatal, "there are not both /etc and /usr/etc", checkUsrEtc},
		{"kernel", Fatal, "at most one directory of /usr/lib/modules holds a vmlinuz", checkKernel},
		{"nonempty-boot", Warning, "/boot is there and empty but for EFI", checkBoot},
		{"nonempty-run-tmp", Warning, "/run and /tmp are empty", checkRunTmp},
		{"sysusers", Warning, "every user and group of /etc has an entry in sysusers.d", checkSysusers},
		{"utf8", Fatal, "all names and targets of symbolic links are UTF-8", checkUTF8},
		{"var-log", Warning, "/var/log holds no file that is not empty", checkVarLog},
		{"var-run", Fatal, "/var/run is a symbolic link", checkVarRun},
		{"var-tmpfiles", Warning, "everything in /var has an entry in tmpfiles.d", checkVarTmpfiles},
	}
}

// Names returns the names of all rules.
func Names() []string {
	var names []string
	for _, r := range Rules() {
		names = append(names, r.Name)
	}
	return names
}

// Finding is the outcome of a rule.
type Finding struct {
	Rule     string   `json:"rule"`
	Level    Level    `json:"level"`
	Skipped  bool     `json:"skipped,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// Lint applies all rules but those to skip and returns an outcome for each. A
// rule to skip that does not exist is an error, and so is a tree that can't be
// read.
func Lint(img Image, skip []string) ([]Finding, error) {
	for _, name := range skip {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("skipping the rule %q: known are %s", name, strings.Join(Names(), ", "))
		}
	}
	var findings []Finding
	for _, r := range Rules() {
		f := Finding{Rule: r.Name, Level: r.Level, Skipped: slices.Contains(skip, r.Name)}
		if !f.Skipped {
			var err error
			if f.Problems, err = r.check(img); err != nil {
				return nil, fmt.Errorf("applying the rule %s: %w", r.Name, err)
			}
		}
		findings = append(findings, f)
	}
	return findings, nil
}
