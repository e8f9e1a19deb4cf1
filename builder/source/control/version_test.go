package control

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	ordered := []string{"0~~", "0~~a", "0~", "0", "0a", "0+", "0.1", "1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0+dfsg-1", "1.2", "1.10", "1:0.1", "2:0"}
	for i, a := range ordered {
		for j, b := range ordered {
			got := CompareVersions(a, b)
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%q against %q: %d", a, b, got)
			}
		}
	}
	for _, pair := range [][2]string{{"1.0", "1.0-0"}, {"0:1", "1"}, {"1.01", "1.1"}, {"1.0-0", "1.0-"}} {
		if c := CompareVersions(pair[0], pair[1]); c != 0 {
			t.Errorf("%q: %d", pair, c)
		}
	}
}

// TestCompareVersionsAgainstDpkg asks dpkg about random pairs.
func TestCompareVersionsAgainstDpkg(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Fatal("dpkg is missing: install the Debian package dpkg")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		a, b := randomVersion(rng), randomVersion(rng)
		if rng.IntN(3) == 0 {
			b = a[:rng.IntN(len(a))+1] + b
		}
		for _, v := range []string{a, b} {
			valid := exec.Command(dpkg, "--validate-version", v).Run() == nil
			if mine := CheckVersion(v) == nil; mine != valid {
				t.Errorf("%q: valid %v; dpkg says %v", v, mine, valid)
			}
		}
		if CheckVersion(a) != nil || CheckVersion(b) != nil {
			continue
		}
		op := [3]string{"lt", "eq", "gt"}[CompareVersions(a, b)+1]
		err := exec.Command(dpkg, "--compare-versions", a, op, b).Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) || err != nil {
			t.Errorf("%q %s %q: dpkg disagrees (%v)", a, op, b, err)
		}
	}
}

func randomVersion(rng *rand.Rand) string {
	const chars = "0012~~+.-:aBz9"
	v := string("0129a"[rng.IntN(5)])
	for range rng.IntN(9) {
		v += string(chars[rng.IntN(len(chars))])
	}
	return v
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1.0-1", "1:2~a", "3")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, ba := CompareVersions(a, b), CompareVersions(b, a)
		if ab != -ba || CompareVersions(a, a) != 0 {
			t.Fatalf("%q against %q: %d and %d", a, b, ab, ba)
		}
		if ab <= 0 && CompareVersions(b, c) <= 0 && CompareVersions(a, c) > 0 {
			t.Fatalf("not transitive: %q %q %q", a, b, c)
		}
	})
}
