package e2e_test

import "testing"

// peak is how much memory a build may take, in bytes.
const peak = 512 << 20

// TestReproducible compares two builds that have the definition and the
// downloads in common and little else: umask, time zone, locale, working and
// home folder, CPUs, jobs, output folder, order and modes of the overlay's
// files, and whether anything was unpacked before. The build tag repro makes
// it compare more.
func TestReproducible(t *testing.T) {
	a, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	b, err := cold()
	if err != nil {
		t.Fatal(err)
	}
	if err := compareFolders(a.dir, b.dir); err != nil {
		t.Error(err)
	}
}

// TestPeakMemory looks at the build that has everything to do.
func TestPeakMemory(t *testing.T) {
	b, err := cold()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the build took %d MiB", b.maxRSS>>20)
	if b.maxRSS == 0 || b.maxRSS >= peak {
		t.Errorf("the build took %d bytes of memory, less than %d are allowed", b.maxRSS, peak)
	}
}
