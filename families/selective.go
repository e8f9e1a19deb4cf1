package families

import "slices"

// Part is something that a family may be built from, or not.
type Part string

// The parts of Input. What isn't listed here (platform, architecture, kernel
// version, command line, root digests, epoch) goes to every family.
const (
	PartKernel    Part = "kernel"
	PartInitramfs Part = "initramfs"
	PartRootImage Part = "root-image"
	PartUKI       Part = "uki"
	PartTree      Part = "tree" // with its contents
	PartESP       Part = "esp"
	PartRPi4      Part = "rpi4"
	PartDisk      Part = "disk" // DiskSize and Persist
	PartBaseURL   Part = "base-url"
	PartRevision  Part = "revision"
)

// Parts returns all parts.
func Parts() []Part {
	return []Part{PartKernel, PartInitramfs, PartRootImage, PartUKI, PartTree, PartESP, PartRPi4, PartDisk, PartBaseURL, PartRevision}
}

// Selective is a family that is built from some parts only. It gets no others,
// and its files stay as they are when others change; any other family gets all.
type Selective interface {
	Family
	Parts() []Part
}

// PartsOf returns the parts that a family is built from, in their fixed order.
func PartsOf(f Family) []Part {
	s, ok := f.(Selective)
	if !ok {
		return Parts()
	}
	wanted := s.Parts()
	return slices.DeleteFunc(Parts(), func(p Part) bool { return !slices.Contains(wanted, p) })
}

// Only returns the input with no other parts than these.
func (in Input) Only(parts []Part) Input {
	for _, p := range Parts() {
		if slices.Contains(parts, p) {
			continue
		}
		switch p {
		case PartKernel:
			in.Kernel = Blob{}
		case PartInitramfs:
			in.Initramfs = Blob{}
		case PartRootImage:
			in.RootImage = Blob{}
		case PartUKI:
			in.UKI = Blob{}
		case PartTree:
			in.Tree, in.Store = nil, nil
		case PartESP:
			in.ESP = nil
		case PartRPi4:
			in.RPi4 = RPi4{}
		case PartDisk:
			in.DiskSize, in.Persist = 0, nil
		case PartBaseURL:
			in.BaseURL = ""
		case PartRevision:
			in.Revision = ""
		}
	}
	return in
}
