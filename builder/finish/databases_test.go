package finish

import (
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
)

func TestDatabases(t *testing.T) {
	r := newTree(t, files{
		"usr/lib/udev/hwdb.d/20-a.hwdb":     "a*\n X=1\n",
		"usr/lib/udev/hwdb.d/30-b.hwdb":     "garbage\n",
		"etc/udev/hwdb.d/30-b.hwdb":         "->/dev/null",
		"usr/lib/systemd/catalog/a.catalog": "-- 01000000000000000000000000000000\nSubject: x\n",
	})
	if err := makeHardwareDatabase(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	if err := makeCatalog(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	if got := text(t, r, "usr/lib/udev/hwdb.bin"); !strings.Contains(got, "/usr/lib/udev/hwdb.d/20-a.hwdb\x00") {
		t.Errorf("the hardware database holds %q", got)
	}
	if got := text(t, r, "var/lib/systemd/catalog/database"); !strings.HasSuffix(got, "Subject: x\n\x00") {
		t.Errorf("the catalog holds %q", got)
	}
}

func TestMalformedDatabases(t *testing.T) {
	r := newTree(t, files{"usr/lib/udev/hwdb.d/a.hwdb": " X=1\n", "usr/lib/systemd/catalog/a.catalog": "text\n"})
	for _, step := range []error{makeHardwareDatabase(t.Context(), r, input(t)), makeCatalog(t.Context(), r, input(t))} {
		if fault.ClassOf(step) != fault.Input || !strings.Contains(step.Error(), "/dev/null") {
			t.Errorf("got %v", step)
		}
	}
}
