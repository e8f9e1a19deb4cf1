package builder

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
)

// TestSlots has stages wait for the only slot: the long ones get it first, in their
// order, and one that has given up doesn't.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slots{free: 1}
		if !s.acquire(t.Context(), false) {
			t.Fatal("there is a slot")
		}
		var got []string
		wait := func(ctx context.Context, name string, long bool) {
			go func() {
				if s.acquire(ctx, long) {
					got = append(got, name)
					s.release()
				}
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait(t.Context(), "short", false)
		wait(t.Context(), "long", true)
		wait(ctx, "given up", true)
		wait(t.Context(), "longer", true)
		cancel()
		synctest.Wait()
		s.release()
		synctest.Wait()
		if want := []string{"long", "longer", "short"}; !slices.Equal(got, want) {
			t.Errorf("the slot went to %q, not %q", got, want)
		}
		if s.free != 1 || s.acquire(ctx, false) {
			t.Error("a slot is lost, or goes to one that has ended")
		}
	})
}
