package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestVerifyReports tells of the trust root's end, before and after it, and of
// every reference.
func TestVerifyReports(t *testing.T) {
	s, pubs := publishBuilt(t, writeBuilt(t))
	good, never := pubs.Publications[0].OCIRef, pubs.Repository+":never"
	for years, want := range map[int]string{0: "", 10: "ends on", 11: "ended on"} {
		env := testEnv(t)
		// The authorities' certificates are for ten years.
		env.Now = func() time.Time { return time.Now().AddDate(years, 0, -1) }
		code, out, stderr := run(t, env, append([]string{"verify", "--json", good}, policyFlags(s)...)...)
		var v verified
		if err := json.Unmarshal([]byte(out), &v); err != nil || code != ExitOK || !v.Verified || v.SignedAt == "" {
			t.Fatalf("%d years on: exit code %d, %v: %s%s", years, code, err, out, stderr)
		}
		if end, err := time.Parse(time.RFC3339, v.TrustRootEnd); err != nil || end.Year() != time.Now().UTC().AddDate(10, 0, 0).Add(-time.Minute).Year() {
			t.Errorf("the trust root ends at %q, %v", v.TrustRootEnd, err)
		}
		if !strings.Contains(stderr, want) || (want == "") != (stderr == "") || (want == "") != (len(v.Warnings) == 0) {
			t.Errorf("%d years on: it warns of %q and %q, want %q", years, v.Warnings, stderr, want)
		}
	}
	code, out, stderr := run(t, testEnv(t), append([]string{"verify", never, good, never}, policyFlags(s)...)...)
	if code != ExitRemote || strings.Count(out, "refused "+never) != 2 || strings.Count(out, "verified ") != 1 || !strings.Contains(stderr, "verifying 3 references: 2 were refused") {
		t.Errorf("exit code %d: %s%s", code, out, stderr)
	}
}
