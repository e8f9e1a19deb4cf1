package builder

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/families"
)

func TestPlanPersist(t *testing.T) {
	p := newTestPlan(t, testConfig(t), Request{File: parse(t, definition+"disk: {persist: {size: 1GiB, label: state}}\n")})
	if p.Persist == nil || *p.Persist != (families.Persist{Label: "state", Size: 1 << 30}) {
		t.Errorf("got %+v", p.Persist)
	}
	for _, target := range p.Targets {
		if !slices.Contains(target.Cmdline, "bootsmith.persist=state") {
			t.Errorf("the command line is %q", target.Cmdline)
		}
	}
	without := newTestPlan(t, testConfig(t), Request{File: parse(t, definition)})
	if without.Persist != nil || slices.Contains(without.Targets[0].Cmdline, "bootsmith.persist=state") {
		t.Errorf("got %+v, %q", without.Persist, without.Targets[0].Cmdline)
	}
	for _, size := range []string{"15MiB", "17TiB"} {
		f := parse(t, definition+"disk: {persist: {size: "+size+"}}\n")
		_, err := NewPlan(context.Background(), testConfig(t), Request{File: f})
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), `disk.persist.size: "`+size+`" is not between 16 MiB and 16 TiB`) {
			t.Errorf("%s: got %v", size, err)
		}
	}
}
