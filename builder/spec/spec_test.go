package spec

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

const minimal = `name: demo
root:
  packages: {suite: trixie, include: [busybox-static]}
`

// bootstrapped is the beginning of a definition with a bootstrap.
const bootstrapped = "name: demo\nroot: {bootstrap: {suite: trixie"

// archived is the beginning of a definition with an archive.
const archived = "name: demo\nroot: {archive: {path: \"root-${arch}.tar\", "

func TestBootstrapDefaults(t *testing.T) {
	f, err := Parse("platform.yaml", []byte(bootstrapped+", hooks: {customize: [b], setup: [a]}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	b := f.Root.Bootstrap
	priorities, names := b.Base()
	if b.Variant != VariantRequired || !slices.Equal(priorities, []string{"required"}) || !slices.Equal(names, []string{"apt"}) || b.Components[0] != "main" {
		t.Errorf("%+v", b)
	}
	if limit, err := b.TimeLimit(); err != nil || limit != time.Hour {
		t.Errorf("time limit %s, %v", limit, err)
	}
	if f.Kernel.Package != "linux-image-cloud-${arch}" || f.ArchiveField() != "root.bootstrap" || f.PackageArchive().Suite != "trixie" {
		t.Errorf("kernel %+v", f.Kernel)
	}
	stages := b.Hooks.Stages()
	if stages[0].Name != "setup" || stages[0].Paths[0] != "a" || stages[3].Name != "customize" || stages[3].Paths[0] != "b" {
		t.Errorf("%+v", stages)
	}
	for variant, want := range map[string]int{VariantEssential: 0, VariantApt: 1, VariantImportant: 3, VariantStandard: 4} {
		priorities, names := Bootstrap{Variant: variant}.Base()
		if len(priorities)+len(names) != want {
			t.Errorf("%s adds %q and %q", variant, priorities, names)
		}
	}
}

func TestParseAppliesDefaults(t *testing.T) {
	f, err := Parse("platform.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.Architectures, " "); got != "amd64 arm64" {
		t.Errorf("architectures = %q", got)
	}
	if f.Kernel.Package != "linux-image-cloud-${arch}" || f.Root.Packages.Components[0] != "main" {
		t.Errorf("defaults are missing: %+v", f.Definition)
	}
	a, _ := arch.Lookup("arm64")
	if got := f.Expand("console=${console}", a); got != "console=ttyAMA0" {
		t.Errorf("Expand = %q", got)
	}
}

// Each mistake gives one line of class Input that names file, line and field,
// and says what to do.
func TestParseRefuses(t *testing.T) {
	for name, x := range map[string]struct{ yaml, want string }{
		"unknown field":         {"name: x\nroot:\n  packages: {suite: trixie, inclde: [a]}\n", `platform.yaml:3: root.packages.inclde: unknown field; did you mean "include"?`},
		"unknown top field":     {minimal + "kernal: {}\n", `platform.yaml:4: kernal: unknown field; did you mean "kernel"?`},
		"no name":               {"root:\n  packages: {suite: trixie, include: [ab]}\n", "platform.yaml: name: missing; give the platform a name"},
		"bad name":              {strings.Replace(minimal, "demo", "De/mo", 1), `platform.yaml:1: name: "De/mo" is not a name`},
		"no source":             {"name: x\nroot: {}\n", "platform.yaml:2: root: no source; add one of root.packages, root.bootstrap, root.archive"},
		"two sources":           {minimal + "  archive: {path: a.tar}\n", "platform.yaml:4: root.archive: root.packages is a source already"},
		"no archive":            {"name: x\nroot: {archive: {}}\n", "platform.yaml:2: root.archive.path: missing"},
		"bad digest":            {archived + "sha256: ABC}}\n", "platform.yaml:2: root.archive.sha256: \"ABC\" is not a digest"},
		"one digest for two":    {archived + "sha256: " + strings.Repeat("a", 64) + "}}\n", "one digest can't be that of an archive for each architecture"},
		"no folder":             {"name: x\nroot: {directory: {}}\n", "platform.yaml:2: root.directory.path: missing"},
		"owner of nothing":      {"name: x\nroot: {directory: {path: r, owners: [{owner: 3}]}}\n", "platform.yaml:2: root.directory.owners[0].path: missing"},
		"no script":             {"name: x\nroot: {script: {}}\n", "platform.yaml:2: root.script.path: missing"},
		"bad time":              {"name: x\nroot: {script: {path: s, timeout: 5 minutes}}\n", "platform.yaml:2: root.script.timeout: \"5 minutes\" is not a time"},
		"no time":               {"name: x\nroot: {script: {path: s, timeout: 0s}}\n", "root.script.timeout"},
		"bad output":            {"name: x\nroot: {script: {path: s, output: zip}}\n", "platform.yaml:2: root.script.output: \"zip\" is unknown; use tar or root"},
		"no image":              {"name: x\nroot: {image: {}}\n", "platform.yaml:2: root.image.reference: \"\" is not a reference"},
		"image by tag":          {"name: x\nroot: {image: {reference: \"r.example.com/base:latest\"}}\n", "platform.yaml:2: root.image.reference: \"r.example.com/base:latest\" has no digest"},
		"image's digest":        {"name: x\nroot: {image: {reference: \"oci:l@sha256:abc\"}}\n", "is not a reference"},
		"bad limit":             {archived + "}, limits: {size: lots}}\n", "platform.yaml:2: root.limits.size"},
		"kernel without suite":  {archived + "}}\nkernel: {package: linux-image-amd64}\n", "platform.yaml:3: kernel.suite: missing"},
		"kernel's bad suite":    {archived + "}}\nkernel: {suite: ../x}\n", "platform.yaml:3: kernel.suite: \"../x\" is not a suite"},
		"two archives":          {minimal + "kernel: {suite: sid}\n", "platform.yaml:4: kernel: the kernel comes from the archive of root.packages"},
		"two kernels":           {minimal + "kernel: {package: linux-image-amd64, files: {image: k}}\n", "platform.yaml:4: kernel.files: kernel.package names a kernel already; keep one"},
		"no kernel's image":     {minimal + "kernel: {files: {modules: m}}\n", "platform.yaml:4: kernel.files.image: missing"},
		"bad release":           {minimal + "kernel: {files: {image: \"k-${arch}\", version: ../6.1}}\n", "platform.yaml:4: kernel.files.version: \"../6.1\" is not a kernel's release"},
		"one image for two":     {minimal + "kernel: {files: {image: k}}\n", "platform.yaml:4: kernel.files.image: one image can't be that of 2 architectures; write ${arch}"},
		"files' bad suite":      {archived + "}}\nkernel: {suite: ../x, files: {image: \"${arch}\"}}\n", "platform.yaml:3: kernel.suite"},
		"no packages":           {"name: x\nroot:\n  packages: {suite: trixie}\n", "platform.yaml:3: root.packages.include: no packages"},
		"string for list":       {"name: x\nroot:\n  packages: {suite: trixie, include: busybox}\n", "platform.yaml:3: root.packages.include: expected a list, found string"},
		"number for string":     {"name: 5\n" + strings.SplitAfterN(minimal, "\n", 2)[1], "platform.yaml:1: name: expected a string, found integer"},
		"unknown architecture":  {minimal + "architectures: [amd64, mips]\n", `platform.yaml:4: architectures[1]: "mips" is not an architecture; use one of amd64, arm64`},
		"twice":                 {minimal + "architectures: [amd64, amd64]\n", "stands there twice"},
		"reserved parameter":    {minimal + "cmdline: [composefs=abc]\n", "platform.yaml:4: cmdline[0]: \"composefs\" is set by the build; remove it"},
		"space in parameter":    {minimal + "cmdline: [\"a b\"]\n", "is not a kernel parameter"},
		"too many parameters":   {minimal + "cmdline: [\"${console}\", " + strings.Repeat("x", 1532) + "]\n", "platform.yaml:4: cmdline: the parameters take 1538 bytes, more than the 1536"},
		"unknown variable":      {minimal + "cmdline: [\"x=${y}\"]\n", "holds an unknown variable"},
		"bad size":              {minimal + "disk: {size: 4 gig}\n", `platform.yaml:4: disk.size: "4 gig" is not a size`},
		"bad mode":              {minimal + "permissions: [{path: /a, mode: \"9\"}]\n", `platform.yaml:4: permissions[0].mode: "9" is not a mode`},
		"missing overlay":       {minimal + "files: ./nowhere\n", "platform.yaml:4: files: folder"},
		"no user name":          {minimal + "users: [{sudo: true}]\n", "platform.yaml:4: users[0].name: missing"},
		"bad user name":         {minimal + "users: [{name: A}]\n", `platform.yaml:4: users[0].name: "A" is not a user name`},
		"system id":             {minimal + "users: [{name: a, uid: 33}]\n", "platform.yaml:4: users[0].uid: 33 is not an id for people"},
		"same user":             {minimal + "users: [{name: a}, {name: a}]\n", "platform.yaml:4: users[1]: the name or the id stands there twice"},
		"bad shell":             {minimal + "users: [{name: a, shell: bash}]\n", `users[0].shell: "bash" is not an absolute path`},
		"bad group":             {minimal + "users: [{name: a, groups: [\"x:y\"]}]\n", "users[0].groups[0]: \"x:y\" is not a group name"},
		"private key":           {minimal + "users: [{name: a, authorized_keys: [\"-----BEGIN OPENSSH PRIVATE KEY-----\"]}]\n", "users[0].authorized_keys[0]: it is not an SSH public key; paste the line of a .pub file"},
		"cut key":               {minimal + "users: [{name: a, authorized_keys: [\"ssh-ed25519 AAAA\"]}]\n", "users[0].authorized_keys[0]: the key is damaged"},
		"string for bool":       {minimal + "users: [{name: a, sudo: \"yes\"}]\n", "users[0].sudo: expected true or false, found string"},
		"place of modules":      {minimal + "kernel: {modules: nowhere}\n", `platform.yaml:4: kernel.modules: "nowhere" is not a place; use root or initramfs`},
		"syntax":                {"name: [\n", "platform.yaml:"},
		"two documents":         {minimal + "---\n" + minimal, "expected exactly one YAML document, found 2"},
		"repeated field":        {minimal + "name: again\n", "platform.yaml:4: "},
		"empty":                 {"", "platform.yaml: expected a definition, found an empty document"},
		"only a comment":        {"# name: x\n", "platform.yaml: expected a definition, found an empty document"},
		"UTF-16":                {"\xff\xfen\x00a\x00", "platform.yaml: it is not UTF-8 text; save it as UTF-8"},
		"tab":                   {"name: x\nroot:\n\tarchive: {path: a}\n", "platform.yaml:3: a tab where YAML takes spaces only; indent with spaces"},
		"negative number":       {archived + "}, limits: {files: -1}}\n", "platform.yaml:2: root.limits.files: -1 is out of range; write a whole number from 0 to 4294967294"},
		"number of 33 bits":     {archived + "}, limits: {files: 4294967296}}\n", "platform.yaml:2: root.limits.files: 4294967296 is out of range"},
		"no user's id":          {minimal + "permissions: [{path: /a, mode: \"1\", owner: 4294967295}]\n", "platform.yaml:4: permissions[0].owner: 4294967295 is out of range"},
		"bootstrap's suite":     {"name: x\nroot: {bootstrap: {}}\n", "platform.yaml:2: root.bootstrap.suite: \"\" is not a suite"},
		"bootstrap's variant":   {bootstrapped + ", variant: buildd}}\n", "platform.yaml:2: root.bootstrap.variant: \"buildd\" is unknown; use essential, apt,"},
		"bootstrap's package":   {bootstrapped + ", include: [a, /b]}}\n", "platform.yaml:2: root.bootstrap.include[0]: \"a\" is not a package name"},
		"bootstrap's hook":      {bootstrapped + ", hooks: {setup: [a], customize: [\"\"]}}}\n", "platform.yaml:2: root.bootstrap.hooks.customize[0]: missing"},
		"bootstrap's time":      {bootstrapped + ", timeout: soon}}\n", "platform.yaml:2: root.bootstrap.timeout: \"soon\" is not a time"},
		"bootstrap's kernel":    {bootstrapped + "}}\nkernel: {suite: sid}\n", "the kernel comes from the archive of root.bootstrap"},
		"bootstrap's keys":      {bootstrapped + ", repositories: [{suite: b, mirror: c}]}}\n", "root.bootstrap.repositories[0].mirror: \"c\" is not a URL"},
		"repository's suite":    {strings.Replace(minimal, "include:", "repositories: [{mirror: http://x}], include:", 1), "root.packages.repositories[0].suite: \"\" is not a suite"},
		"repository's mirror":   {archived + "}}\nkernel: {suite: sid, repositories: [{suite: a}, {suite: b, mirror: c}]}\n", "platform.yaml:3: kernel.repositories[1].mirror: \"c\" is not a URL"},
		"mirror's scheme":       {strings.Replace(minimal, "include:", "mirror: gopher://x/y, include:", 1), "platform.yaml:3: root.packages.mirror: \"gopher://x/y\" is not a URL; give an http, https or file URL"},
		"mirror without host":   {strings.Replace(minimal, "include:", "mirror: http:///debian, include:", 1), "root.packages.mirror"},
		"mirror's file":         {strings.Replace(minimal, "include:", "mirror: file://debian, include:", 1), "root.packages.mirror"},
		"other repositories":    {minimal + "kernel: {repositories: [{suite: a}]}\n", "the kernel comes from the archive of root.packages"},
		"suite leaves the path": {strings.Replace(minimal, "trixie", "a/../../b", 1), "is not a suite"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("platform.yaml", []byte(x.yaml))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), x.want) {
				t.Errorf("error %q lacks %q", err, x.want)
			}
			if fault.ClassOf(err) != fault.Input {
				t.Errorf("class of %q is %d", err, fault.ClassOf(err))
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error has several lines: %q", err)
			}
		})
	}
}

func TestByteOrderMark(t *testing.T) {
	if f, err := Parse("platform.yaml", []byte("\ufeff"+minimal)); err != nil || f.Name != "demo" {
		t.Errorf("%v", err)
	}
}

func TestReadTakesAFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(minimal), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f.Resolve("x") != filepath.Join(dir, "x") {
		t.Errorf("Resolve = %q", f.Resolve("x"))
	}
	if _, err := Read(filepath.Join(dir, "nothing.yaml")); fault.ClassOf(err) != fault.Input {
		t.Errorf("missing file: %v", err)
	}
}

func TestDiskBytes(t *testing.T) {
	for size, want := range map[string]int64{"": 0, "512MiB": 512 << 20, "4GiB": 4 << 30, "2TiB": 2 << 40} {
		if got, err := (Disk{Size: size}).Bytes(); err != nil || got != want {
			t.Errorf("Bytes(%q) = %d, %v", size, got, err)
		}
	}
	if _, err := (Disk{Size: "2147483648TiB"}).Bytes(); err == nil {
		t.Error("an overflowing size was taken")
	}
}

// The schema and the decoder agree: what the decoder refuses for its form, the
// schema refuses too, and the other way round.
func TestSchemaAgreesWithDecoder(t *testing.T) {
	raw, err := Schema([]string{"raw", "iso"})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("platform.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("platform.json")
	if err != nil {
		t.Fatal(err)
	}
	for src, valid := range map[string]bool{
		minimal:                                true,
		archived + "}}\n":                      true,
		archived + "}, limits: {files: 10}}\n": true,
		minimal + "  archive: {path: a}\n":     false,
		"name: x\nroot: {directory: {path: r, owners: [{path: /a, owner: 3}]}}\n": true,
		"name: x\nroot: {directory: {path: r, owners: [{owner: 3}]}}\n":           false,
		"name: x\nroot: {script: {path: s, timeout: 30m, output: root}}\n":        true,
		"name: x\nroot: {script: {path: s, output: zip}}\n":                       false,
		"name: x\nroot: {image: {reference: \"oci:./layout\"}}\n":                 true,
		archived + "sha256: 00}}\n":                                               false,
		archived + "}}\nkernel: {package: linux-image-amd64, suite: trixie}\n":    true,
		minimal + "families: [raw]\ndisk: {size: 4GiB}\n":                         true,
		minimal + "permissions: [{path: /a, mode: \"0644\", owner: 5}]\n":         true,
		minimal + "kernel: {modules: initramfs}\n":                                true,
		minimal + "users: [{name: a, sudo: true, uid: 2000, groups: [adm], authorized_keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a@b\"]}]\n": true,
		minimal + "users: [{name: A}]\n":                                           false,
		minimal + "users: [{uid: 2000}]\n":                                         false,
		minimal + "users: [{name: a, sudo: \"yes\"}]\n":                            false,
		minimal + "kernel: {files: {image: \"${arch}/k\", modules: m}}\n":          true,
		minimal + "kernel: {files: {modules: m}}\n":                                false,
		minimal + "kernel: {modules: nowhere}\n":                                   false,
		minimal + "kernal: {}\n":                                                   false,
		minimal + "disk: {size: 4}\n":                                              false,
		minimal + "disk: {size: 4GiB, persist: {size: rest, label: state}}\n":      true,
		minimal + "disk: {persist: {size: all}}\n":                                 false,
		minimal + "disk: {size: 4GiB, persist: {label: a/b}}\n":                    false,
		minimal + "architectures: [mips]\n":                                        false,
		"name: x\nroot: {}\n":                                                      false,
		"name: x\nroot:\n  packages: {suite: trixie, include: busybox}\n":          false,
		"root:\n  packages: {suite: trixie, include: [busybox]}\n":                 false,
		minimal + "permissions: [{path: /a, mode: \"0644\", owner: root}]\n":       false,
		minimal + "permissions: [{path: /a, mode: \"0644\", owner: -1}]\n":         false,
		minimal + "permissions: [{path: /a, mode: \"0644\", owner: 4294967295}]\n": false,
		minimal + "permissions: [{path: /a, mode: \"0644\", owner: 4294967294}]\n": true,
	} {
		j, err := yaml.YAMLToJSON([]byte(src))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
		if err != nil {
			t.Fatal(err)
		}
		_, perr := Parse("platform.yaml", []byte(src))
		if serr := schema.Validate(v); (serr == nil) != valid || (perr == nil) != valid {
			t.Errorf("%q: want valid=%v; schema says %v, decoder says %v", src, valid, serr, perr)
		}
	}
	if !json.Valid(raw) {
		t.Error("the schema is not JSON")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte("name: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Parse("platform.yaml", data); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("error has several lines: %q", err)
		}
	})
}
