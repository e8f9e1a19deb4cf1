package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/kernel"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/families"
)

// planned is what a plan says of one architecture.
type planned struct {
	plan   *Plan
	target Target
	arch   arch.Arch
	// modules is the definition's kernel.modules.
	modules string
}

// identity names everything that a stage's result depends on: a SHA-256 digest,
// in hex, over the plan's fields that the stage reads and the identities of the
// stages that it builds upon. It is known before anything runs; only what a
// script makes is not told by a plan.
type identity string

// identities are those of an architecture's stages.
type identities struct {
	unpackKernel, unpackRoot, finishRoot, rootImage,
	kernel, initramfs, uki, sbom, firmware, manifest identity
	families map[string]identity
	// parts are the families' without their names: families that are built from
	// the same parts have the same, and so the same identifiers in them.
	parts map[string]identity
}

// identify computes the identities. root is the digest of what the root's source
// made, "" where the plan tells it.
func (p planned) identify(root string) identities {
	var i identities
	i.unpackKernel = p.identity("unpack-kernel", packageFiles(p.target.Packages.Boot()), p.kernelFiles())
	i.unpackRoot = p.identity("unpack-root", packageFiles(p.target.Packages.Root), p.target.Root, p.notInstalled(), p.kernelFiles(), p.modules, p.plan.Epoch, root)
	finished := []any{i.unpackRoot, p.target.Root != nil, p.target.bootsFromRoot(), p.plan.OverlayDigest, p.plan.Platform, p.plan.Users, p.plan.Permissions, p.plan.Epoch}
	if init := p.target.init(); init != "" { // it is looked for
		finished = append(finished, init)
	}
	i.finishRoot = p.identity("finish-root", finished...)
	i.rootImage = p.identity("root-image", i.finishRoot, p.plan.Epoch)
	i.kernel = p.identity("kernel", i.kernelTree(p))
	i.initramfs = p.identity("initramfs", i.kernel, p.wantedModules(), p.plan.Boot.FilesDigest, p.target.InitSHA256, p.plan.Epoch)
	i.uki = p.identity("uki", i.unpackKernel, i.finishRoot, i.rootImage, i.kernel, i.initramfs, p.target.Cmdline, p.plan.Platform, p.plan.Boot.CertificateSHA256)
	i.sbom = p.identity("sbom", i.finishRoot, packageFiles(p.target.undocumented()), p.plan.Platform, p.plan.Revision, p.plan.Epoch)
	i.firmware = p.identity("firmware", i.kernelTree(p), p.plan.Boot.RPi4)
	i.families, i.parts = map[string]identity{}, map[string]identity{}
	for _, f := range p.families() {
		parts := p.identity("parts", i.common(p), families.PartsOf(f), i.partsOf(p, f))
		i.parts[f.Name()] = parts
		i.families[f.Name()] = p.identity("family", f.Name(), parts)
	}
	i.manifest = p.identity("manifest", p.plan, i.sbom, i.families)
	return i
}

// kernelTree is the identity of the tree that holds the kernel.
func (i identities) kernelTree(p planned) identity {
	if p.target.bootsFromRoot() {
		return i.finishRoot
	}
	return i.unpackKernel
}

// common is what every family gets.
func (i identities) common(p planned) []any {
	return []any{i.rootImage, i.kernel, p.target.Cmdline, p.plan.Platform, p.plan.Epoch}
}

// partsOf is what a family gets of the rest.
func (i identities) partsOf(p planned, f families.Family) []any {
	var of []any
	for _, part := range families.PartsOf(f) {
		switch part {
		case families.PartKernel:
			of = append(of, i.kernel)
		case families.PartInitramfs:
			of = append(of, i.initramfs)
		case families.PartRootImage:
			of = append(of, i.rootImage)
		case families.PartUKI:
			of = append(of, i.uki)
		case families.PartTree:
			of = append(of, i.finishRoot)
		case families.PartESP:
			of = append(of, p.plan.ESPDigest)
		case families.PartRPi4:
			of = append(of, i.firmware)
		case families.PartDisk:
			of = append(of, p.plan.DiskSize, p.plan.Persist)
		case families.PartBaseURL:
			of = append(of, p.plan.BaseURL)
		case families.PartRevision:
			of = append(of, p.plan.Revision)
		default:
			of = append(of, p.plan)
		}
	}
	return of
}

// identity joins a stage's name with what it depends on.
func (p planned) identity(stage string, on ...any) identity {
	b, err := json.Marshal([]any{stage, p.plan.FormatVersion, p.plan.Version, p.arch.Name, on})
	if err != nil {
		panic(err) // plain data always encodes
	}
	sum := sha256.Sum256(b)
	return identity(hex.EncodeToString(sum[:]))
}

// key returns the key of the cache entry of a stage, as a program makes it: the
// same stage made by another version of the program is another entry.
func (i identity) key(program string) string {
	b, err := json.Marshal([]any{"bootsmith stage", cache.Version, program, i})
	if err != nil {
		panic(err) // strings always encode
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// id returns a UUID (RFC 9562, version 8) made from an identity and a purpose.
func (i identity) id(purpose string) [16]byte {
	sum := sha256.Sum256([]byte(string(i) + "\x00" + purpose))
	id := [16]byte(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// packageFiles is what packages are. Unpacking compares their names and versions
// with what is in the files: a lock that says something else finds no result of
// one that is right.
func packageFiles(packages []apt.Package) [][4]string {
	files := make([][4]string, len(packages))
	for i, p := range packages {
		files[i] = [4]string{p.Name, p.Version, p.Arch, p.SHA256}
	}
	return files
}

// kernelFiles is what the tree of a kernel that is in files depends on.
func (p planned) kernelFiles() []any {
	if p.target.KernelDigest == "" {
		return nil
	}
	return []any{p.target.KernelDigest, p.plan.Epoch}
}

// notInstalled is what is only unpacked of the packages of a root that is not
// made of packages.
func (p planned) notInstalled() [][4]string {
	if p.target.Root == nil {
		return nil
	}
	return packageFiles(p.target.Packages.kernelInRoot())
}

// scripted tells that a plan doesn't say what the root holds: a script may make
// another one each time.
func (p planned) scripted() bool { return p.target.Root != nil && p.target.Root.Source == scriptSource }

// builds tells whether a family is built for this architecture.
func (p planned) builds(name string) bool {
	return slices.ContainsFunc(p.families(), func(f families.Family) bool { return f.Name() == name })
}

// families returns the families that are built for this architecture.
func (p planned) families() []families.Family { return builtFamilies(p.plan.Families, p.arch) }

// wantedModules returns the modules to load: the usual ones, the definition's,
// and those of the families for one kind of machine.
func (p planned) wantedModules() kernel.Wanted {
	wanted := kernel.DefaultModules()
	wanted.Required = append(wanted.Required, p.plan.Boot.Modules...)
	if p.plan.Persist != nil {
		wanted.Required = append(wanted.Required, "ext4")
	}
	for _, f := range p.families() {
		if l, ok := f.(families.Limited); ok {
			required, optional := l.Modules()
			wanted.Required = append(wanted.Required, required...)
			wanted.Optional = append(wanted.Optional, optional...)
		}
	}
	return wanted
}
