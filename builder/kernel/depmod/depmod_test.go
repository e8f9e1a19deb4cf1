package depmod

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const version = "6.12.0-test"

func read(t *testing.T, all map[string]fake) []Module {
	t.Helper()
	var modules []Module
	for path, f := range all {
		m, err := new(Reader).Read(bytes.NewReader(f.build(t)), path)
		if err != nil {
			t.Fatal(err)
		}
		modules = append(modules, m)
	}
	rand.Shuffle(len(modules), func(i, j int) { modules[i], modules[j] = modules[j], modules[i] })
	return modules
}

func filesByName(t *testing.T) map[string][]byte {
	t.Helper()
	list, err := Files(read(t, fakes()), Shipped{Order: []byte(order), Builtin: []byte(builtin), BuiltinModinfo: []byte(builtinModinfo)})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string][]byte{}
	for _, f := range list {
		byName[f.Name] = f.Data
	}
	return byName
}

// runDepmod returns a folder with what depmod of kmod makes of the same modules.
func runDepmod(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "lib/modules", version)
	write := func(name string, data []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, f := range fakes() {
		write(path, f.build(t))
	}
	write("modules.order", []byte(order))
	write("modules.builtin", []byte(builtin))
	write("modules.builtin.modinfo", []byte(builtinModinfo))
	program, err := exec.LookPath("depmod")
	if err != nil {
		program = "/usr/sbin/depmod"
	}
	if out, err := exec.Command(program, "-b", root, version).CombinedOutput(); err != nil {
		t.Fatalf("running depmod (package kmod): %v: %s", err, out)
	}
	return dir
}

// Everything equals what depmod writes, but for the order of lines and, in
// indexes, of nodes.
func TestFilesEqualDepmods(t *testing.T) {
	dir, made := runDepmod(t), filesByName(t)
	for _, name := range slices.Sorted(maps.Keys(made)) {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) && name == "modules.weakdep" {
			continue // kmod writes it since version 33
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.HasSuffix(name, ".bin") {
			if a, b := lines(made[name]), lines(want); !slices.Equal(a, b) {
				t.Errorf("%s:\n%s\nwant:\n%s", name, strings.Join(a, "\n"), strings.Join(b, "\n"))
			}
			continue
		}
		a, err := readIndex(made[name])
		if err != nil {
			t.Fatal(err)
		}
		b, err := readIndex(want)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.EqualFunc(a, b, slices.Equal) {
			t.Errorf("%s:\n%q\nwant:\n%q", name, a, b)
		}
	}
}

func lines(data []byte) []string {
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	slices.Sort(all)
	return all
}

func TestDependenciesComeNearestFirst(t *testing.T) {
	want := "kernel/drivers/disk.ko: kernel/lib/bus-lib.ko kernel/drivers/core.ko kernel/lib/base.ko\n"
	if got := string(filesByName(t)["modules.dep"]); !strings.Contains(got, want) {
		t.Errorf("%s lacks %s", got, want)
	}
}

func TestCircles(t *testing.T) {
	_, err := Files([]Module{{Path: "a.ko", Depends: []string{"b"}}, {Path: "b.ko", Depends: []string{"a"}}}, Shipped{})
	if err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("got %v", err)
	}
}

func TestName(t *testing.T) {
	for path, want := range map[string]string{"kernel/dm-mod.ko.xz": "dm_mod", "x.ko": "x", "a/b-c.ko.zst": "b_c"} {
		if got := (Module{Path: path}).Name(); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	good := fake{modinfo: []string{"depends="}, exports: []string{"a"}}.build(t)
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("hello"), "cut": good[:len(good)-100]} {
		if _, err := new(Reader).Read(bytes.NewReader(data), "x.ko"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := new(Reader).Read(bytes.NewReader(good), "x.ko.xz"); err == nil {
		t.Error("uncompressed data was decompressed")
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range fakes() {
		f.Add(m.build(f))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err != nil {
			return
		}
		m.Path = "x.ko"
		if _, err := Files([]Module{m}, Shipped{}); err != nil && !strings.Contains(err.Error(), "circle") {
			t.Error(err)
		}
	})
}
