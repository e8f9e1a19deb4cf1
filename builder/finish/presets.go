package finish

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// followPresets enables and disables the units that the definition's presets
// name, as systemctl's preset does.
func (r *root) followPresets() error {
	for _, s := range scopes {
		rules, err := r.presetRules(s.presets...)
		if err != nil {
			return err
		}
		e := enabler{root: r, scope: s, done: map[string]bool{}}
		for _, name := range r.unitNames(s) {
			enable, ruled := match(rules, name)
			switch {
			case !ruled:
			case enable:
				err = e.enable(name)
			default:
				err = e.disable(name)
			}
			if err != nil {
				return fmt.Errorf("presetting %q: %w", name, err)
			}
		}
	}
	return nil
}

// disable removes the symlinks by which a unit starts, and its aliases.
func (e *enabler) disable(name string) error {
	dir, err := e.root.tree.Resolve(e.scope.links)
	if err != nil {
		return nil
	}
	for _, c := range slices.Clone(dir.Children()) {
		at := path.Join(e.scope.links, c.Name)
		if c.Inode.IsSymlink() && isUnit(c.Name, c.Inode.Target, name) {
			if err := e.root.tree.Remove(at); err != nil {
				return err
			}
		}
		if !c.Inode.IsDir() || !slices.Contains([]string{".wants", ".requires", ".upholds"}, path.Ext(c.Name)) {
			continue
		}
		for _, l := range slices.Clone(c.Children()) {
			if !l.Inode.IsSymlink() || !isUnit(l.Name, l.Inode.Target, name) {
				continue
			}
			if err := e.root.tree.Remove(path.Join(at, l.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isUnit tells whether a symlink leads to a unit. One to /dev/null masks it, and
// stays.
func isUnit(link, target, name string) bool {
	if target == "/dev/null" {
		return false
	}
	if path.Base(target) == name {
		return true
	}
	stem, suffix, ok := strings.Cut(name, "@.")
	return ok && strings.HasPrefix(link, stem+"@") && strings.HasSuffix(link, "."+suffix)
}
