package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder"
)

func TestPlan(t *testing.T) {
	b := newLockBench(t)
	code, out, log := b.run(t, "plan")
	if code != 0 {
		t.Fatal(log)
	}
	for _, want := range []string{
		"platform    demo\n", "time stamp  2023-11-14T22:13:20Z\n", "lock        none\n", "\namd64\n", "\narm64\n",
		"suite test", "packages      3 of ", ", 3 of ", " to download\n", "command line  console=ttyS0\n",
		"build         qcow2", " stages to build, 0 to reuse, 2 not needed\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan lacks %q:\n%s", want, out)
		}
	}
	if code, _, log := b.run(t, "lock", "--fetch"); code != 0 {
		t.Fatal(log)
	}
	if _, out, _ = b.run(t, "plan", "--locked"); !strings.Contains(out, ", all in the cache\n") || strings.Contains(out, "lock        none") {
		t.Errorf("with a lock:\n%s", out)
	}
}

func TestPlanJSON(t *testing.T) {
	b := newLockBench(t)
	code, out, log := b.run(t, "plan", "--json", "--arch", "arm64")
	var p builder.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != 0 || len(p.Targets) != 1 || p.Targets[0].Arch != "arm64" {
		t.Errorf("%d %v\n%s%s", code, err, out, log)
	}
	if _, again, _ := b.run(t, "plan", "--json", "--arch", "arm64"); again != out {
		t.Error("two plans of one definition differ")
	}
}

func TestMatrix(t *testing.T) {
	b := newLockBench(t)
	b.repo.Requests()
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"--matrix", "--variants", "raw,iso"}, `{"include":[{"arch":"amd64","families":"raw,iso"},{"arch":"arm64","families":"raw,iso"}]}`},
		{[]string{"--matrix=family", "--variants", "raw,oci", "--arch", "arm64", "--runs-on", "debian-${arch}"},
			`{"include":[{"arch":"arm64","family":"raw","runs_on":"debian-arm64"},{"arch":"arm64","family":"oci","runs_on":"debian-arm64"}]}`},
	} {
		code, out, log := b.run(t, "plan", x.args...)
		if code != 0 || out != x.want+"\n" {
			t.Errorf("%q: %d %s%s", x.args, code, out, log)
		}
	}
	if asked := b.repo.Requests(); len(asked) > 0 {
		t.Errorf("the archive was asked for %q", asked)
	}
	if code, _, log := b.run(t, "plan", "--matrix=host"); code != ExitInput || !strings.Contains(log, "use arch or family") {
		t.Errorf("%d %s", code, log)
	}
}

func TestValidate(t *testing.T) {
	b := newLockBench(t)
	file := filepath.Join(b.dir, "platform.yaml")
	valid := func(args ...string) (int, string) {
		code, out, log := b.run(t, "validate", args...)
		return code, out + log
	}
	if code, out := valid(); code != 0 || out != file+": OK: demo, 12 artifacts for 2 architectures, not locked\n" {
		t.Errorf("%d %s", code, out)
	}
	b.repo.Requests()
	if code, out := valid("--locked"); code != ExitInput || !strings.Contains(out, "run bootsmith lock") {
		t.Errorf("without a lock: %d %s", code, out)
	}
	if code, _, log := b.run(t, "lock"); code != 0 {
		t.Fatal(log)
	}
	if code, out := valid("--locked"); code != 0 || !strings.HasSuffix(out, ", the lock fits\n") {
		t.Errorf("%d %s", code, out)
	}
	b.define(t, "tool")
	if code, out := valid(); code != 0 || !strings.Contains(out, `"tool" was "app"`) {
		t.Errorf("drifted: %d %s", code, out)
	}
	if code, out := valid("--locked"); code != ExitInput || !strings.Contains(out, `"tool" was "app"`) {
		t.Errorf("drifted, locked: %d %s", code, out)
	}
	whole := readAll(t, file)
	for _, x := range []struct{ more, want string }{
		{"families: [vhd]\n", `families[0]: looking up family "vhd"`},
		{"files: ./none\n", `files: folder "./none" can't be read`},
		{"rpi4: {firmware: ./none}\n", "correct rpi4.firmware"},
		{"secure_boot: {certificate: none.pem}\n", "none.pem"},
	} {
		write(t, file, whole+x.more)
		if code, out := valid(); code != ExitInput || !strings.Contains(out, x.want) {
			t.Errorf("%s: %d %s", x.more, code, out)
		}
	}
	write(t, file, whole)
	if err := os.Remove(filepath.Join(b.dir, "archive.gpg")); err != nil {
		t.Fatal(err)
	}
	if code, out := valid(); code != ExitInput || !strings.Contains(out, "platform.yaml:3: root.packages.keyring: stat ") {
		t.Errorf("without a keyring: %d %s", code, out)
	}
	write(t, file, "name: demo\nroot: {script: {path: make}}\n")
	write(t, filepath.Join(b.dir, "make"), "#!/bin/sh\n")
	if code, out := valid(); code != ExitInput || !strings.Contains(out, "chmod +x") {
		t.Errorf("script: %d %s", code, out)
	}
}
