package bootc

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/powernode/bootsmith/builder/tree"
)

const (
	modulesDir = "usr/lib/modules"
	// baseDir is a copy of the base image's root that bootc's own package ships
	// as documentation; it is held to the same rules.
	baseDir      = "usr/share/doc/bootc/baseimage/base"
	ostreeTarget = "sysroot/ostree"
)

// lookup returns the node at a path, nil when there is none. Like bootc's
// symlink_metadata, it does not follow a link in the last element.
func (img Image) lookup(name string) (*tree.Node, error) {
	n, err := img.Tree.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return n, err
}

// dir returns the directory at a path, following links; nil when there is none.
func (img Image) dir(name string) (*tree.Node, error) {
	n, err := img.Tree.Resolve(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && !n.Inode.IsDir() {
		err = fmt.Errorf("/%s is not a directory", name)
	}
	return n, err
}

func checkAPIDirs(img Image) (problems []string, err error) {
	for _, name := range []string{"dev", "proc", "sys", "run", "tmp", "var"} {
		n, err := img.lookup(name)
		if err != nil {
			return nil, err
		}
		if n == nil {
			problems = append(problems, "/"+name+" is missing")
		} else if !n.Inode.IsDir() {
			problems = append(problems, "/"+name+" is not a directory")
		}
	}
	return problems, nil
}

// eachBase calls check with the prefixes of the root and of the base image's copy,
// if there is one, and joins what it finds.
func (img Image) eachBase(check func(prefix string) ([]string, error)) ([]string, error) {
	prefixes := []string{""}
	base, err := img.dir(baseDir)
	if err != nil {
		return nil, err
	}
	if base != nil {
		prefixes = append(prefixes, baseDir+"/")
	}
	var all []string
	for _, p := range prefixes {
		problems, err := check(p)
		if err != nil {
			return nil, err
		}
		all = append(all, problems...)
	}
	return all, nil
}

func checkBaseRoot(img Image) ([]string, error) { return img.eachBase(img.checkSysroot) }

// checkSysroot checks the root at a prefix.
func (img Image) checkSysroot(prefix string) (problems []string, err error) {
	sysroot, err := img.lookup(prefix + "sysroot")
	if err != nil {
		return nil, err
	}
	if sysroot == nil || !sysroot.Inode.IsDir() {
		problems = append(problems, "/"+prefix+"sysroot is not a directory")
	}
	ostree, err := img.lookup(prefix + "ostree")
	if err != nil {
		return nil, err
	}
	if ostree == nil || !ostree.Inode.IsSymlink() || ostree.Inode.Target != ostreeTarget {
		problems = append(problems, "/"+prefix+"ostree is not a symbolic link to "+ostreeTarget)
	}
	return problems, nil
}

func checkInjected(img Image) (problems []string, err error) {
	for _, name := range []string{"etc/hostname", "etc/resolv.conf"} {
		n, err := img.lookup(name)
		if err != nil {
			return nil, err
		}
		if n != nil && n.Inode.IsRegular() && n.Inode.Size == 0 {
			problems = append(problems, "/"+name+" is empty")
		}
	}
	return problems, nil
}

func checkUsrEtc(img Image) ([]string, error) {
	etc, err := img.lookup("etc")
	if err != nil || etc == nil {
		return nil, err
	}
	usrEtc, err := img.lookup("usr/etc")
	if err != nil || usrEtc == nil {
		return nil, err
	}
	return []string{"there are /etc and /usr/etc"}, nil
}

func checkKernel(img Image) ([]string, error) {
	modules, err := img.dir(modulesDir)
	if err != nil || modules == nil {
		return nil, err
	}
	var versions []string
	for _, n := range modules.Children() {
		if n.Inode.IsDir() && n.Child("vmlinuz") != nil {
			versions = append(versions, n.Name)
		}
	}
	if len(versions) < 2 {
		return nil, nil
	}
	return []string{"/" + modulesDir + " holds the kernels " + strings.Join(versions, ", ")}, nil
}

func checkBoot(img Image) (problems []string, err error) {
	boot, err := img.dir("boot")
	if err != nil {
		return nil, err
	}
	if boot == nil {
		return []string{"/boot is missing"}, nil
	}
	for _, n := range boot.Children() {
		if n.Name != "EFI" {
			problems = append(problems, "/boot/"+n.Name)
		}
	}
	return problems, nil
}

// checkRunTmp ignores the one file, with its directories, that container engines
// put there and bootc ignores.
func checkRunTmp(img Image) (problems []string, err error) {
	for _, name := range []string{"run", "tmp"} {
		dir, err := img.dir(name)
		if err != nil {
			return nil, err
		}
		if dir == nil {
			continue
		}
		for _, p := range contents(dir, name) {
			if !strings.HasPrefix("run/systemd/resolve/stub-resolv.conf/", p+"/") {
				problems = append(problems, "/"+p)
			}
		}
	}
	return problems, nil
}

// contents lists all paths below a directory.
func contents(dir *tree.Node, name string) (all []string) {
	for _, n := range dir.Children() {
		p := path.Join(name, n.Name)
		all = append(append(all, p), contents(n, p)...)
	}
	return all
}

func checkUTF8(img Image) (problems []string, err error) {
	err = img.Tree.Walk(func(p string, n *tree.Node) error {
		if !utf8.ValidString(n.Name) {
			problems = append(problems, fmt.Sprintf("the name %q", "/"+p))
		}
		if !utf8.ValidString(n.Inode.Target) {
			problems = append(problems, fmt.Sprintf("the target %q of %q", n.Inode.Target, "/"+p))
		}
		return nil
	})
	return problems, err
}

func checkVarLog(img Image) (problems []string, err error) {
	dir, err := img.dir("var/log")
	if err != nil || dir == nil {
		return nil, err
	}
	var walk func(dir *tree.Node, name string)
	walk = func(dir *tree.Node, name string) {
		for _, n := range dir.Children() {
			p := path.Join(name, n.Name)
			if n.Inode.IsRegular() && n.Inode.Size > 0 {
				problems = append(problems, p)
			}
			walk(n, p)
		}
	}
	walk(dir, "/var/log")
	return problems, nil
}

func checkVarRun(img Image) ([]string, error) {
	n, err := img.lookup("var/run")
	if err != nil || n == nil || n.Inode.IsSymlink() {
		return nil, err
	}
	return []string{"/var/run is not a symbolic link"}, nil
}
