package builder

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
)

// Drift is the error that a lock doesn't fit its definition any more.
type Drift struct {
	// Path is the lock's.
	Path string
	// Causes say what is different, a line each.
	Causes []string
}

// Error implements error.
func (d *Drift) Error() string {
	return fmt.Sprintf("building from %q: it doesn't fit any more: %s", d.Path, strings.Join(d.Causes, "; "))
}

func (d *Drift) fault() error {
	return &fault.Error{Class: fault.Input, Err: d, Fix: "run bootsmith lock"}
}

// irrelevant are fields of the definition's root and kernel that don't change
// which inputs there are: where they are fetched, and how much they may be.
var irrelevant = []string{"mirror", "limits", "timeout"}

// askedOf returns the part of a definition that decides on its lock.
func askedOf(f *spec.File) map[string][]string {
	asked := map[string][]string{}
	addAsked(asked, "root", reflect.ValueOf(f.Root))
	addAsked(asked, "kernel", reflect.ValueOf(f.Kernel))
	return asked
}

// addAsked adds the fields below one of a definition; those that aren't set are
// left out.
func addAsked(asked map[string][]string, name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			addAsked(asked, name, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if key := v.Type().Field(i).Tag.Get("yaml"); !slices.Contains(irrelevant, key) {
				addAsked(asked, name+"."+key, v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if v.Index(i).Kind() == reflect.String {
				asked[name] = append(asked[name], v.Index(i).String())
			} else {
				addAsked(asked, fmt.Sprintf("%s[%d]", name, i), v.Index(i))
			}
		}
	default:
		if !v.IsZero() {
			asked[name] = []string{fmt.Sprint(v.Interface())}
		}
	}
}

// drift says how a definition has moved away from the lock, as far as the
// architectures are concerned; nothing when it has not.
func (l *Lock) drift(f *spec.File, architectures []string) []string {
	causes := l.askedDrift(f)
	for _, name := range architectures {
		if l.target(name) == nil {
			causes = append(causes, f.Bad("architectures", "%s is not in the lock", name).Error())
		}
	}
	return causes
}

// askedDrift says which fields of the definition have changed.
func (l *Lock) askedDrift(f *spec.File) []string {
	now, fields := askedOf(f), map[string]bool{}
	for _, asked := range []map[string][]string{now, l.Asked} {
		for field := range asked {
			fields[field] = true
		}
	}
	var causes []string
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if what := difference(l.Asked[field], now[field]); what != "" {
			causes = append(causes, f.Bad(field, "%s", what).Error())
		}
	}
	return causes
}

// difference says what happened to a field's values.
func difference(old, now []string) string {
	var what []string
	for _, v := range missingIn(old, now) {
		what = append(what, fmt.Sprintf("%q is new", v))
	}
	for _, v := range missingIn(now, old) {
		what = append(what, fmt.Sprintf("%q is gone", v))
	}
	if what == nil && !slices.Equal(old, now) {
		return "the order has changed"
	}
	if len(old) == 1 && len(now) == 1 && what != nil {
		return fmt.Sprintf("%q was %q", now[0], old[0])
	}
	return strings.Join(what, ", ")
}

// missingIn returns the values of list that aren't in other.
func missingIn(other, list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(v string) bool { return slices.Contains(other, v) })
}

// checkSources compares the targets' sources with the lock, if there is one.
func (p *Plan) checkSources(ctx context.Context, c Config, r Request) error {
	var causes []string
	for _, t := range p.Targets {
		locked := r.Lock.target(t.Arch)
		if locked == nil {
			continue
		}
		now, err := t.untimed(ctx, c, r.File)
		if err != nil {
			return err
		}
		causes = append(causes, locked.sourceDrift(r.File, now)...)
	}
	if causes != nil {
		return (&Drift{Path: LockPath(r.File), Causes: causes}).fault()
	}
	return nil
}

// untimed returns the target's sources as a lock has them, without times.
func (t Target) untimed(ctx context.Context, c Config, f *spec.File) (LockedTarget, error) {
	l := LockedTarget{Arch: t.Arch, Root: t.Root.written(), KernelDigest: t.KernelDigest}
	a, err := arch.Lookup(t.Arch)
	if err == nil && t.Root != nil && t.Root.Source == directorySource { // others don't depend on times
		l.Root, err = pinRoot(ctx, c, f, a, 0)
	}
	if err == nil && t.KernelDigest != "" {
		l.KernelDigest, err = pinKernel(ctx, c, f, a, 0)
	}
	return l, err
}

// sourceDrift says how sources that are no packages differ from the lock's.
func (t *LockedTarget) sourceDrift(f *spec.File, now LockedTarget) []string {
	var causes []string
	if t.Root != nil && now.Root != nil && !t.Root.equal(*now.Root) {
		causes = append(causes, f.Bad("root."+now.Root.Source, "for %s it is %s, and was %s", t.Arch, now.Root.Digest, t.Root.Digest).Error())
	}
	if t.KernelDigest != now.KernelDigest {
		causes = append(causes, f.Bad("kernel.files", "for %s they are %s, and were %s", t.Arch, now.KernelDigest, t.KernelDigest).Error())
	}
	return causes
}
