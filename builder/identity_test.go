package builder

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/families"
)

// described are the fields of a plan that only say what a build is: they change
// the manifest and no other file.
var described = []string{
	"Plan.DefinitionSHA256", "Plan.LockSHA256", "Plan.Families", "Packages.Suite", "Packages.ReleaseDate",
	"Packages.ReleaseSHA256", "Packages.Repositories",
}

// fullPlan has something in every field.
func fullPlan() *Plan {
	p := &Plan{}
	fill(reflect.ValueOf(p).Elem())
	p.Families = families.Names()
	p.Targets[0].Arch = "arm64"
	p.Targets[0].Root.Source = "archive"
	return p
}

// fill gives every field below v a value that is not its zero one.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(1)
	case reflect.Uint32:
		v.SetUint(1)
	case reflect.Bool:
		v.SetBool(true)
	}
}

// change gives a value another one.
func change(v reflect.Value) {
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice {
		v.SetZero()
		return
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(5, 0)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("y")
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(2)
	case reflect.Uint32:
		v.SetUint(2)
	case reflect.Bool:
		v.SetBool(false)
	default:
		panic(v.Kind())
	}
}

// eachField calls fn for the fields of plans, targets, their packages and what
// boots, with a path to find them again.
func eachField(t reflect.Type, path []int, fn func(name string, path []int)) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(path), i)
		switch f.Type {
		case reflect.TypeFor[[]Target]():
			eachField(reflect.TypeFor[Target](), at, fn)
		case reflect.TypeFor[Packages](), reflect.TypeFor[Boot]():
			eachField(f.Type, at, fn)
		default:
			fn(t.Name()+"."+f.Name, at)
		}
	}
}

func fieldAt(p *Plan, path []int) reflect.Value {
	v := reflect.ValueOf(p).Elem()
	for _, i := range path {
		if v.Kind() == reflect.Slice {
			v = v.Index(0)
		}
		v = v.Field(i)
	}
	return v
}

func identitiesOf(t *testing.T, p *Plan) identities {
	t.Helper()
	a, err := arch.Lookup("arm64")
	if err != nil {
		t.Fatal(err)
	}
	return planned{plan: p, target: p.Targets[0], arch: a, modules: spec.ModulesInRoot}.identify("")
}

// TestEveryFieldOfThePlanCounts changes each field of a plan: whatever changes
// bytes must be in the identity of the stage that writes them. A new field of the
// plan fails here until it is in an identity, or in the list of those that only
// describe.
func TestEveryFieldOfThePlanCounts(t *testing.T) {
	before := identitiesOf(t, fullPlan())
	eachField(reflect.TypeFor[Plan](), nil, func(name string, path []int) {
		p := fullPlan()
		if name == "Target.Arch" {
			return // another target
		}
		change(fieldAt(p, path))
		if name == "Plan.Families" {
			p.Families = families.Names()[:1]
		}
		after := identitiesOf(t, p)
		if after.manifest == before.manifest {
			t.Errorf("%s doesn't change the manifest", name)
		}
		rest := func(i identities) string {
			i.manifest = ""
			return fmt.Sprint(i)
		}
		describes := slices.Contains(described, name)
		if name == "Plan.Families" {
			return // other stages, not other identities
		}
		if changed := rest(after) != rest(before); changed == describes {
			t.Errorf("%s changes the identity of a stage: %v", name, changed)
		}
	})
}

// TestIdentitiesDiffer: no two stages and no two architectures share one.
func TestIdentitiesDiffer(t *testing.T) {
	p := fullPlan()
	seen := map[identity]string{}
	for _, a := range arch.All() {
		i := planned{plan: p, target: p.Targets[0], arch: a}.identify("")
		v := reflect.ValueOf(i)
		for n := range v.NumField() {
			name := v.Type().Field(n).Name
			if v.Field(n).Kind() == reflect.Map {
				continue
			}
			id := identity(v.Field(n).String())
			if other, known := seen[id]; known {
				t.Errorf("%s of %s has the identity of %s", name, a.Name, other)
			}
			seen[id] = name + " of " + a.Name
		}
		for family, id := range i.families {
			if other, known := seen[id]; known {
				t.Errorf("%s of %s has the identity of %s", family, a.Name, other)
			}
			seen[id] = family + " of " + a.Name
		}
		// qcow2 is raw in another format, down to the identifiers.
		if i.parts["raw"] != i.parts["qcow2"] || i.parts["raw"] == i.parts["iso"] {
			t.Error("the wrong families share identifiers")
		}
		if !strings.Contains(fmt.Sprint(slices.Sorted(maps.Keys(i.families))), "oci") {
			t.Error("oci has no identity")
		}
	}
}

// The order of packages and what is known of them besides don't matter for what
// is unpacked; their bytes do.
func TestIdentityOfPackages(t *testing.T) {
	p := fullPlan()
	before := identitiesOf(t, p)
	p.Targets[0].Packages.Root[0].PoolPath, p.Targets[0].Packages.Root[0].Size = "elsewhere", 5
	if after := identitiesOf(t, p); after.unpackRoot != before.unpackRoot {
		t.Error("a package's path on the mirror changes the root")
	}
	p.Targets[0].Packages.Root[0].Version = "y"
	if after := identitiesOf(t, p); after.unpackRoot == before.unpackRoot {
		t.Error("a lock that lies about a version finds the root of one that doesn't")
	}
	p = fullPlan()
	p.Targets[0].Packages.Root[0].SHA256 = "y"
	if after := identitiesOf(t, p); after.unpackRoot == before.unpackRoot || after.unpackKernel != before.unpackKernel {
		t.Error("another package of the root changes the wrong trees")
	}
}

// A bootstrap installs the root's packages but the kernel's: which those are
// changes the root.
func TestIdentityOfBootstraps(t *testing.T) {
	p := fullPlan()
	p.Targets[0].Root.Source = bootstrapSource
	packages := &p.Targets[0].Packages
	packages.Root = []apt.Package{{SHA256: "a"}, {SHA256: "b"}}
	packages.Kernel = []apt.Package{{SHA256: "b"}}
	before := identitiesOf(t, p)
	packages.Kernel = []apt.Package{{SHA256: "c"}}
	after := identitiesOf(t, p)
	if before.unpackRoot == after.unpackRoot || before.sbom == after.sbom {
		t.Error("another kernel leaves the root or its SBOM as they are")
	}
	p.Targets[0].Root.Source = "archive"
	one := identitiesOf(t, p)
	packages.Kernel = []apt.Package{{SHA256: "b"}}
	if two := identitiesOf(t, p); one.unpackKernel == two.unpackKernel || one.unpackRoot == two.unpackRoot {
		t.Error("another kernel leaves its tree, or the root that it goes into, as they are")
	}
}
