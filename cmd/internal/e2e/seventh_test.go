package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
)

// noteFamily is the one file of another family.
const noteFamily = `package families

import (
	"context"
	"fmt"
)

type note struct{}

func (note) Name() string { return "note" }

func (note) Build(_ context.Context, in Input, out *Sink) error {
	out.SetMain("note.txt")
	return out.write("note.txt", "application/vnd.powernode.note", func(f *File) error {
		_, err := fmt.Fprintln(f, in.Platform, in.Arch.Name, in.RootDigest)
		return err
	})
}
`

// overlaid builds the program from the sources with one file added and one line
// changed, and returns its path.
func overlaid(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	folder, err := filepath.Abs("../../../families")
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(folder, "family.go")
	lines := strings.Split(string(readFile(t, list)), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "return []Family{") })
	if at < 0 {
		t.Fatalf("%s has no list of families", list)
	}
	lines[at] = strings.Replace(lines[at], "}}", "}, note{}}", 1)
	replace := map[string]string{}
	for path, text := range map[string]string{list: strings.Join(lines, "\n"), filepath.Join(folder, "note.go"): noteFamily} {
		replace[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replace[path], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "bootsmith")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "build", "-overlay", file, "-o", program, "github.com/powernode/bootsmith/cmd/bootsmith").CombinedOutput()
	if err != nil {
		t.Fatalf("building with another family: %v\n%s", err, out)
	}
	return program
}

// TestAnotherFamilyIsOneFileAndOneLine adds a family to the sources as a
// developer would. It is then in the schema, is built, recorded, published,
// signed and promoted like the others.
func TestAnotherFamilyIsOneFileAndOneLine(t *testing.T) {
	first, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	program := overlaid(t)
	schema, err := exec.Command(program, "schema").Output()
	if err != nil || !bytes.Contains(schema, []byte(`"note"`)) {
		t.Errorf("the schema doesn't know the family: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "definition")
	if err := copyDefinition(dir, 1, 0); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "platform.yaml")
	text := strings.Replace(string(readFile(t, path)), "name: minimal", "name: "+labPlatform, 1) + "families: [note]\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "build")
	cmd := exec.Command(program, "build", "--file", dir, "--arch", "amd64", "--cache-dir", first.cache, "--output-dir", output)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	m, err := manifest.Read(filepath.Join(output, "amd64"))
	if err != nil || !slices.Equal(m.Variants, []string{"note"}) || m.Families[0].Main != "note/note.txt" {
		t.Fatalf("%+v, %v", m, err)
	}
	if got := string(readFile(t, filepath.Join(output, "amd64/note/note.txt"))); got != labPlatform+" amd64 "+m.ComposefsDigest+"\n" {
		t.Errorf("the file holds %q", got)
	}
	l := startLab(t, "")
	l.publish(t, output)
	if got := bootsmith(t.Context(), l.variables(labSecret), "notify", "--output-dir", output); got.Code != cli.ExitOK {
		t.Fatalf("notify ended with %d:\n%s", got.Code, got.stderr)
	}
	if p := l.publication(t); p.Status != "published" || !p.Current || p.ArtifactFamily != "note" {
		t.Errorf("the publication of %q is %s %s: %s", p.ArtifactFamily, p.Status, p.PublicationStatus, p.PublicationError)
	}
}
