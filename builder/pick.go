package builder

import (
	"fmt"
	"slices"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families"
)

// pickFamilies returns the families to build, in their fixed order.
func pickFamilies(r Request) ([]string, error) {
	want, err := wantedFamilies(r)
	if err != nil {
		return nil, err
	}
	var picked []string
	for _, name := range families.Names() {
		if slices.Contains(want, name) {
			picked = append(picked, name)
		}
	}
	return picked, checkPicked(r, picked)
}

// wantedFamilies returns what the command line lists, else what the definition
// does, else the default.
func wantedFamilies(r Request) ([]string, error) {
	for _, name := range r.Families {
		if _, err := families.Lookup(name); err != nil {
			return nil, fault.Inputf("%w", err)
		}
	}
	if len(r.Families) > 0 {
		return r.Families, nil
	}
	for i, name := range r.File.Families {
		if _, err := families.Lookup(name); err != nil {
			return nil, r.File.Bad(fmt.Sprintf("families[%d]", i), "%v", err)
		}
	}
	if len(r.File.Families) > 0 {
		return r.File.Families, nil
	}
	want := families.Default()
	if r.File.RPi4 != nil {
		want = append(want, families.RPi4Name)
	}
	return want, nil
}

// checkPicked refuses families that can't be built.
func checkPicked(r Request, picked []string) error {
	if slices.Contains(picked, families.RPi4Name) && r.File.RPi4 == nil {
		return r.File.Bad("rpi4", "missing, and %s needs it", families.RPi4Name).WithFix("add rpi4 with the firmware, or leave the family out")
	}
	for _, name := range r.architectures() {
		a, err := arch.Lookup(name)
		if err != nil {
			return fault.Inputf("%w", err)
		}
		if !slices.ContainsFunc(families.All(), func(f families.Family) bool { return isBuilt(f, picked, a) }) {
			return fault.Inputf("picking the families for %s: none of %q exists for it", name, picked).WithFix("pick another family or architecture")
		}
	}
	return nil
}

// architectures returns what the command line lists, each once, else what the
// definition does.
func (r Request) architectures() []string {
	var names []string
	for _, name := range r.Architectures {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if names == nil {
		return r.File.Architectures
	}
	return names
}

// isBuilt tells whether a family is picked and exists for an architecture.
func isBuilt(f families.Family, picked []string, a arch.Arch) bool {
	return slices.Contains(picked, f.Name()) && families.Supports(f, a)
}

// builtFamilies returns those of the picked families that exist for an
// architecture.
func builtFamilies(picked []string, a arch.Arch) []families.Family {
	return slices.DeleteFunc(families.All(), func(f families.Family) bool { return !isBuilt(f, picked, a) })
}
