package families

import "github.com/powernode/bootsmith/arch"

// Limited is a family for one kind of machine. A build has it only when its
// definition asks for it.
type Limited interface {
	Family
	// Supports tells whether the family exists for an architecture.
	Supports(a arch.Arch) bool
	// Modules returns the names of the kernel modules without which its
	// machines don't find the root, and of those that are loaded where the
	// kernel has them.
	Modules() (required, optional []string)
}

// Supports tells whether a family exists for an architecture.
func Supports(f Family, a arch.Arch) bool {
	l, ok := f.(Limited)
	return !ok || l.Supports(a)
}

// Default returns the names of the families that a definition gets without
// asking, in order: those that exist for every architecture and machine.
func Default() []string {
	var names []string
	for _, f := range All() {
		if _, ok := f.(Limited); !ok {
			names = append(names, f.Name())
		}
	}
	return names
}
