package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/families"
)

const root = "../../.."

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func leaves(c *cobra.Command) []*cobra.Command {
	if !c.HasSubCommands() {
		return []*cobra.Command{c}
	}
	var all []*cobra.Command
	for _, sub := range c.Commands() {
		all = append(all, leaves(sub)...)
	}
	return all
}

// The README's table and the command line name the same commands.
func TestReadmeListsEveryCommand(t *testing.T) {
	readme := readFile(t, "README.md")
	known := map[string]bool{}
	for _, c := range leaves(newRoot(testEnv(t))) {
		known[c.CommandPath()] = true
		if !strings.Contains(readme, "| `"+c.CommandPath()+"` |") {
			t.Errorf("the README lacks a row for %q", c.CommandPath())
		}
		if c.Short == "" {
			t.Errorf("%q has no help", c.CommandPath())
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(bootsmith [^`]+)` \\|").FindAllStringSubmatch(readme, -1) {
		if !known[m[1]] {
			t.Errorf("the README names %q, which is no command", m[1])
		}
	}
}

// Every flag that the README's text names exists on some command.
func TestReadmeNamesRealFlags(t *testing.T) {
	flags := labFlags(t)
	flags["--help"] = true
	// The README shows how tar and mmdebstrap are run, too.
	for _, foreign := range []string{"--numeric-owner", "--owner", "--group", "--sort", "--variant"} {
		flags[foreign] = true
	}
	for _, c := range leaves(newRoot(testEnv(t))) {
		for _, m := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(c.UsageString(), -1) {
			flags[m] = true
		}
	}
	for _, m := range regexp.MustCompile(`(?:^|[ \x60])(--[a-z][a-z-]+)`).FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		if !flags[m[1]] {
			t.Errorf("the README names %s, which is no flag", m[1])
		}
	}
}

// labFlags returns the flags that the lab's source defines: a program can't be
// imported.
func labFlags(t *testing.T) map[string]bool {
	t.Helper()
	sources, err := filepath.Glob(filepath.Join(root, "cmd/bootsmith-lab/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{}
	for _, path := range sources {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Var\(&[^,]+, "([a-z-]+)"`).FindAllStringSubmatch(string(text), -1) {
			flags["--"+m[1]] = true
		}
	}
	if !flags["--keep"] {
		t.Fatalf("found the lab's flags %v, and not --keep", flags)
	}
	return flags
}

func TestReadmeNamesEveryVariable(t *testing.T) {
	readme := readFile(t, "README.md")
	for _, v := range []string{MirrorVariable, RepositoryVariable, SigningConfigVariable, TrustedRootVariable, RegistryCAVariable, RegistryUsernameVariable, RegistryPasswordVariable, RegistryHostVariable, WebhookURLVariable, WebhookSecretVariable, SecureBootCertVariable, SecureBootKeyVariable, SecureBootPINVariable, "SOURCE_DATE_EPOCH"} {
		if !strings.Contains(readme, "| `"+v+"` |") {
			t.Errorf("the README lacks a row for %s", v)
		}
	}
}

func TestReadmeListsEveryFamily(t *testing.T) {
	readme := readFile(t, "README.md")
	for _, name := range families.Names() {
		if !strings.Contains(readme, "| `"+name+"` |") {
			t.Errorf("the README lacks a row for the family %s", name)
		}
	}
}

// The README's definition is the platform that the demo builds.
func TestReadmeDefinitionIsTheFixture(t *testing.T) {
	_, text, _ := strings.Cut(readFile(t, "README.md"), "## A platform\n\n```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	path := filepath.Join(root, "fixtures/platforms/minimal/platform.yaml")
	shown, err := spec.Parse(path, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	real, err := spec.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	real.Permissions = real.Permissions[:1] // the README shows one
	if !reflect.DeepEqual(shown.Definition, real.Definition) {
		t.Errorf("the README shows\n%+v, the fixture is\n%+v", shown.Definition, real.Definition)
	}
}

// Every field of a definition has a row, and every row a field.
func TestReadmeListsEveryField(t *testing.T) {
	_, table, _ := strings.Cut(readFile(t, "README.md"), "| field | meaning |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, name := range fieldPaths(reflect.TypeFor[spec.Definition](), "") {
		last := name[strings.LastIndexByte(name, '.')+1:]
		if !strings.Contains(table, "`"+name+"`") && !strings.Contains(table, "`"+last+"`") {
			t.Errorf("the README lacks the field %s", name)
		}
	}
}

func fieldPaths(t reflect.Type, prefix string) []string {
	var all []string
	for i := range t.NumField() {
		f := t.Field(i)
		name := prefix + f.Tag.Get("yaml")
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct {
			all = append(all, fieldPaths(ft, name+".")...)
			continue
		}
		all = append(all, name)
	}
	return all
}

func TestReadmeMakeTargetsExist(t *testing.T) {
	makefile := readFile(t, "Makefile")
	for _, m := range regexp.MustCompile("(?m)(?:`|^)make ([a-z-]+)").FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^%s:`, m[1])).MatchString(makefile) {
			t.Errorf("the README names make %s, which is no target", m[1])
		}
	}
}
