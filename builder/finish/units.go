package finish

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

// scope is one of systemd's two managers and where its files are.
type scope struct {
	// presets are the definition's, packaged the packages'.
	units, presets []string
	packaged       string
	// links is where enabling makes symlinks.
	links string
	// option is what maintainer scripts say for it.
	option string
}

var scopes = []scope{
	{
		units:   []string{"etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system"},
		presets: []string{"etc/systemd/system-preset", "usr/local/lib/systemd/system-preset"}, packaged: "usr/lib/systemd/system-preset",
		links: "etc/systemd/system",
	},
	{
		units:   []string{"etc/systemd/user", "usr/local/lib/systemd/user", "usr/lib/systemd/user"},
		presets: []string{"etc/systemd/user-preset", "usr/local/lib/systemd/user-preset"}, packaged: "usr/lib/systemd/user-preset",
		links: "etc/systemd/user", option: "--user",
	},
}

// enableUnits makes the symlinks that `systemctl enable` makes, for the units
// that the definition's presets (systemd.preset(5)) enable, and for those that
// they don't name and the packages' postinst scripts enable. Debian's policy is
// in these: what the presets of packages enable doesn't count, but scripts leave
// off what these disable (deb-systemd-helper(1p)). Where scripts have run, only
// the definition's presets are left.
func enableUnits(_ context.Context, r *root, in Input) error {
	if in.State == Bootstrapped {
		return r.followPresets()
	}
	byScripts, err := r.enabledByScripts()
	if err != nil {
		return err
	}
	for _, s := range scopes {
		if err := r.enableScope(s, byScripts); err != nil {
			return err
		}
	}
	return nil
}

func (r *root) enableScope(s scope, byScripts map[string]bool) error {
	rules, err := r.presetRules(s.presets...)
	if err != nil {
		return err
	}
	packaged, err := r.presetRules(append(slices.Clone(s.presets), s.packaged)...)
	if err != nil {
		return err
	}
	names := r.unitNames(s)
	for _, key := range sortedKeys(byScripts) { // instances are no files
		if option, name, _ := strings.Cut(key, " "); option == s.option && templateOf(name) != "" {
			names = append(names, name)
		}
	}
	e := enabler{root: r, scope: s, done: map[string]bool{}}
	for _, name := range names {
		enable, ruled := match(rules, name)
		if !ruled && byScripts[s.option+" "+name] {
			enable, ruled = match(packaged, name)
			enable = enable || !ruled
		}
		if !enable {
			continue
		}
		if err := e.enable(name); err != nil {
			return fmt.Errorf("enabling %q: %w", name, err)
		}
	}
	return nil
}

// templateOf returns the template of an instance, "" for other units.
func templateOf(name string) string {
	stem, rest, ok := strings.Cut(name, "@")
	suffix := path.Ext(rest)
	if !ok || len(rest) == len(suffix) {
		return ""
	}
	return stem + "@" + suffix
}

var (
	scriptEnables   = regexp.MustCompile(`\bdeb-systemd-helper\s+((?:--\S+\s+)*)enable\s+'([^'$]+)'`)
	scriptSystemctl = regexp.MustCompile(`^systemctl\s+(?:(?:--?|\$\{DPKG_ROOT)\S*\s+)*enable\s+([\w@.:-]+)(?:\s|$)`)
	scriptInstalled = regexp.MustCompile(`\bdeb-systemd-helper\s+((?:--\S+\s+)*)debian-installed\s+'([^'$]+)'`)
)

// enabledByScripts returns the units that postinst scripts enable, each after
// its scope's option and a space. A script that asks first whether the unit was
// installed before leaves a new one off (dh_installsystemd --no-enable).
func (r *root) enabledByScripts() (map[string]bool, error) {
	enabled, asked := map[string]bool{}, map[string]bool{}
	err := r.scripts(func(_, command string) {
		if m := scriptEnables.FindStringSubmatch(command); m != nil {
			enabled[scriptScope(m[1])+" "+m[2]] = true
		}
		if m := scriptSystemctl.FindStringSubmatch(command); m != nil {
			enabled[" "+m[1]] = true
		}
		if m := scriptInstalled.FindStringSubmatch(command); m != nil {
			asked[scriptScope(m[1])+" "+m[2]] = true
		}
	})
	for name := range asked {
		delete(enabled, name)
	}
	return enabled, err
}

func scriptScope(options string) string {
	if strings.Contains(options, "--user") {
		return "--user"
	}
	return ""
}

// rule is a line of a preset file.
type rule struct {
	enable    bool
	pattern   string
	instances []string
}

func (r *root) presetRules(dirs ...string) ([]rule, error) {
	var rules []rule
	for _, p := range r.merged(".preset", dirs...) {
		lines, err := r.lines(p)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			words := strings.Fields(l)
			if len(words) < 2 || strings.HasPrefix(words[0], "#") || strings.HasPrefix(words[0], ";") {
				continue
			}
			switch words[0] {
			case "enable", "disable":
				rules = append(rules, rule{words[0] == "enable", words[1], words[2:]})
			case "ignore":
			default:
				return nil, fmt.Errorf("%s: line %q begins with neither enable, disable nor ignore", p, l)
			}
		}
	}
	return rules, nil
}

// match returns what the first matching rule says.
func match(rules []rule, name string) (enable, ruled bool) {
	for _, x := range rules {
		if ok, err := path.Match(x.pattern, name); ok && err == nil {
			return x.enable, true
		}
	}
	return false, false
}

var unitSuffixes = []string{".service", ".socket", ".target", ".timer", ".path", ".mount", ".automount", ".swap", ".slice", ".device"}

// unitNames returns the units that are files; symlinks are other names.
func (r *root) unitNames(s scope) []string {
	found := map[string]bool{}
	for _, dir := range s.units {
		n, err := r.tree.Resolve(dir)
		if err != nil {
			continue
		}
		for _, c := range n.Children() {
			if _, seen := found[c.Name]; !seen && slices.Contains(unitSuffixes, path.Ext(c.Name)) {
				found[c.Name] = c.Inode.IsRegular()
			}
		}
	}
	var names []string
	for _, name := range sortedKeys(found) {
		if found[name] {
			names = append(names, name)
		}
	}
	return names
}

// enabler enables units and what they name in Also=.
type enabler struct {
	root  *root
	scope scope
	done  map[string]bool
}

func (e *enabler) enable(name string) error {
	if e.done[name] {
		return nil
	}
	e.done[name] = true
	file, ok := e.root.find(name, e.scope.units...)
	if !ok && templateOf(name) != "" {
		file, ok = e.root.find(templateOf(name), e.scope.units...)
	}
	if !ok {
		return nil // Also= may name what isn't installed
	}
	if n, err := e.root.tree.Lookup(file); err != nil || n.Inode.Type() != tree.TypeRegular {
		return err
	}
	text, err := e.root.read(file)
	if err != nil {
		return err
	}
	install := installSection(string(text))
	instance := name
	if stem, suffix, ok := strings.Cut(name, "@."); ok {
		def := install["DefaultInstance"]
		if len(def) == 0 {
			instance = "" // a template without instances: only its Also= and aliases
		} else {
			instance = stem + "@" + def[len(def)-1] + "." + suffix
		}
	}
	if err := e.link(name, instance, "/"+file, install); err != nil {
		return err
	}
	for _, also := range install["Also"] {
		if err := e.enable(also); err != nil {
			return err
		}
	}
	return nil
}

// link makes a unit's symlinks.
func (e *enabler) link(name, instance, file string, install map[string][]string) error {
	for _, alias := range install["Alias"] {
		if alias = expand(alias, name); alias == name {
			continue
		}
		if err := e.root.link(path.Join(e.scope.links, alias), file); err != nil {
			return err
		}
	}
	for _, x := range []struct{ key, dir string }{{"WantedBy", ".wants"}, {"RequiredBy", ".requires"}, {"UpheldBy", ".upholds"}} {
		for _, by := range install[x.key] {
			if instance == "" {
				continue
			}
			if err := e.root.link(path.Join(e.scope.links, expand(by, instance)+x.dir, instance), file); err != nil {
				return err
			}
		}
	}
	return nil
}

// expand replaces the specifiers of a unit's name (systemd.unit(5)).
func expand(s, name string) string {
	stem := strings.TrimSuffix(name, path.Ext(name))
	prefix, instance, _ := strings.Cut(stem, "@")
	return strings.NewReplacer("%%", "%", "%n", name, "%N", stem, "%p", prefix, "%i", instance).Replace(s)
}

// installSection returns the values of a unit file's [Install] section; an empty
// assignment takes back the ones before.
func installSection(text string) map[string][]string {
	values := map[string][]string{}
	inside := false
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			inside = line == "[Install]"
		case inside:
			key, value, _ := strings.Cut(line, "=")
			key = strings.TrimSpace(key)
			if value = strings.TrimSpace(value); value == "" {
				delete(values, key)
				continue
			}
			values[key] = append(values[key], strings.Fields(value)...)
		}
	}
	return values
}
