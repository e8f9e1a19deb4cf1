package spec

import (
	"cmp"
	"fmt"
	"time"
)

// Bootstrap installs packages of a signed archive with their maintainer
// scripts; package builder/source/bootstrap has the contract.
type Bootstrap struct {
	Suite      string   `yaml:"suite" doc:"the archive's suite or code name, for example trixie"`
	Include    []string `yaml:"include" doc:"packages to install; what they depend on comes along"`
	Variant    string   `yaml:"variant" doc:"what is installed besides: essential packages, or these with apt, or with packages of priority required, important or standard; default: required"`
	Mirror     string   `yaml:"mirror" doc:"base URL of the archive; default: as for root.packages"`
	Components []string `yaml:"components" doc:"archive components; default: [main]"`
	Keyring    string   `yaml:"keyring" doc:"OpenPGP keyring that signs the archive; default: as for root.packages"`

	Repositories []Repository `yaml:"repositories" doc:"further suites, as for root.packages"`

	Hooks   Hooks  `yaml:"hooks" doc:"programs that run meanwhile"`
	Timeout string `yaml:"timeout" doc:"how long it may take, for example 30m; default: 1h"`
}

// Hooks are executable files, whose argument is the root's folder.
type Hooks struct {
	Setup     []string `yaml:"setup" doc:"run before anything is installed"`
	Extract   []string `yaml:"extract" doc:"run when the essential packages are unpacked"`
	Essential []string `yaml:"essential" doc:"run when the essential packages are installed"`
	Customize []string `yaml:"customize" doc:"run when all packages are installed"`
}

// Stage is a stage of a bootstrap and its hooks.
type Stage struct {
	Name  string
	Paths []string
}

// Stages returns the hooks in the order in which they run.
func (h Hooks) Stages() []Stage {
	return []Stage{{"setup", h.Setup}, {"extract", h.Extract}, {"essential", h.Essential}, {"customize", h.Customize}}
}

// What a bootstrap can install besides the packages that are named.
const (
	VariantEssential = "essential"
	VariantApt       = "apt"
	VariantRequired  = "required"
	VariantImportant = "important"
	VariantStandard  = "standard"
)

// Base returns what the variant installs: priorities, and packages by name.
// Essential packages always are.
func (b Bootstrap) Base() (priorities, names []string) {
	switch b.Variant {
	case VariantApt:
		return nil, []string{"apt"}
	case VariantRequired:
		return []string{"required"}, []string{"apt"}
	case VariantImportant:
		return []string{"required", "important"}, []string{"apt"}
	case VariantStandard:
		return []string{"required", "important", "standard"}, []string{"apt"}
	}
	return nil, nil
}

// TimeLimit returns how long the bootstrap may take.
func (b Bootstrap) TimeLimit() (time.Duration, error) { return parseTimeLimit(b.Timeout) }

func (b *Bootstrap) applyDefaults() {
	b.Variant, b.Timeout = cmp.Or(b.Variant, VariantRequired), cmp.Or(b.Timeout, "1h")
	if len(b.Components) == 0 {
		b.Components = []string{"main"}
	}
}

func (b Bootstrap) packages() *Packages {
	return &Packages{Suite: b.Suite, Include: b.Include, Mirror: b.Mirror, Components: b.Components, Keyring: b.Keyring, Repositories: b.Repositories}
}

func (f *File) validateBootstrap() error {
	b := f.Root.Bootstrap
	if b == nil {
		return nil
	}
	if err := f.validateIncluded("root.bootstrap", b.Include); err != nil {
		return err
	}
	switch b.Variant {
	case VariantEssential, VariantApt, VariantRequired, VariantImportant, VariantStandard:
	default:
		return f.Bad("root.bootstrap.variant", "%q is unknown", b.Variant).
			WithFix("use %s, %s, %s, %s or %s", VariantEssential, VariantApt, VariantRequired, VariantImportant, VariantStandard)
	}
	if _, err := b.TimeLimit(); err != nil {
		return f.Bad("root.bootstrap.timeout", "%q is not a time", b.Timeout).WithFix("write hours, minutes or seconds, for example 30m")
	}
	for _, s := range b.Hooks.Stages() {
		for i, path := range s.Paths {
			if path == "" {
				return f.Bad(fmt.Sprintf("root.bootstrap.hooks.%s[%d]", s.Name, i), "missing").WithFix("name the program's file")
			}
		}
	}
	return f.validateArchiveOf("root.bootstrap", b.packages())
}
