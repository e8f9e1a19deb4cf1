package finish

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
)

// pamTypes are the files that pam-auth-update(8) manages, as /etc/pam.d/common-*.
var pamTypes = []string{"auth", "account", "password", "session", "session-noninteractive"}

// pamProfile is a file of /usr/share/pam-configs.
type pamProfile struct {
	name     string
	priority int
	fields   map[string]string
}

// makePAM generates the common files by pam-auth-update's algorithm, from the
// profiles that are on by default. A stack without a module that decides would
// let everybody in; that is an error.
func makePAM(_ context.Context, r *root, _ Input) error {
	profiles, err := r.pamProfiles()
	if err != nil {
		return err
	}
	enabled := enabledProfiles(profiles)
	for _, kind := range pamTypes {
		template, err := r.read("usr/share/pam/common-" + kind)
		if err != nil {
			return err
		}
		primary := stack(enabled, kind, "Primary")
		if len(primary) == 0 && !strings.HasPrefix(kind, "session") {
			return fault.Inputf("no package brings a PAM module that decides about %q", kind).WithFix("include libpam-modules and libpam-runtime")
		}
		if err := r.writeNew("etc/pam.d/common-"+kind, fillTemplate(string(template), kind, enabled)); err != nil {
			return err
		}
		if err := r.writeNew("var/lib/pam/"+kind, savedStack(enabled, kind)); err != nil {
			return err
		}
	}
	var seen strings.Builder
	for _, p := range profiles {
		seen.WriteString(p.name + "\n")
	}
	return r.writeNew("var/lib/pam/seen", seen.String())
}

// pamProfiles returns all profiles, the highest priority first.
func (r *root) pamProfiles() ([]pamProfile, error) {
	var profiles []pamProfile
	for _, name := range r.list("usr/share/pam-configs", "") {
		text, err := r.read("usr/share/pam-configs/" + name)
		if err != nil {
			return nil, err
		}
		p := parseProfile(name, string(text))
		profiles = append(profiles, p)
	}
	slices.SortStableFunc(profiles, func(a, b pamProfile) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(b.name, a.name))
	})
	return profiles, nil
}

var pamField = regexp.MustCompile(`\A(\S+):(?:\s+(.*))?\z`)

// parseProfile parses a profile: fields, whose values go on in the lines that
// follow.
func parseProfile(name, text string) pamProfile {
	p := pamProfile{name: name, fields: map[string]string{}}
	field := ""
	for line := range strings.SplitSeq(text, "\n") {
		if m := pamField.FindStringSubmatch(line); m != nil {
			field = strings.TrimSuffix(m[1], "-Final")
			p.fields[field] = strings.TrimSpace(m[2])
			continue
		}
		if line = strings.TrimSpace(line); line != "" {
			p.fields[field] = strings.TrimLeft(p.fields[field]+"\n"+line, "\n ")
		}
	}
	if p.fields["Session-Interactive-Only"] != "yes" {
		for _, suffix := range []string{"-Type", "", "-Initial"} {
			if v, ok := p.fields["Session"+suffix]; ok {
				p.fields["Session-noninteractive"+suffix] = v
			}
		}
	}
	p.priority, _ = strconv.Atoi(p.fields["Priority"]) // Perl takes a missing number for 0, too
	return p
}

// enabledProfiles returns those that are on by default, without those that
// conflict with one of a higher priority.
func enabledProfiles(profiles []pamProfile) []pamProfile {
	var enabled []pamProfile
	for _, p := range profiles {
		conflict := slices.ContainsFunc(enabled, func(e pamProfile) bool { return e.conflicts(p) || p.conflicts(e) })
		if p.fields["Default"] == "yes" && !conflict {
			enabled = append(enabled, p)
		}
	}
	return enabled
}

func (p pamProfile) conflicts(other pamProfile) bool {
	return slices.Contains(strings.Split(p.fields["Conflicts"], ", "), other.name)
}

// pamModule is what a profile adds to a stack.
type pamModule struct {
	profile string
	lines   []string
}

// stack returns the modules of one block of a file; the first may differ, as
// nobody has asked for a password before it.
func stack(enabled []pamProfile, kind, block string) []pamModule {
	field := strings.ToUpper(kind[:1]) + kind[1:]
	var modules []pamModule
	for _, p := range enabled {
		if p.fields[field+"-Type"] != block {
			continue
		}
		text := p.fields[field]
		if initial := p.fields[field+"-Initial"]; len(modules) == 0 && initial != "" {
			text = initial
		}
		modules = append(modules, pamModule{p.name, strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })})
	}
	return modules
}

const (
	pamPrimary    = `# here are the per-package modules (the "Primary" block)`
	pamFallback   = "# here's the fallback if no module succeeds"
	pamAdditional = `# and here are more per-package modules (the "Additional" block)`
	pamEnd        = "# end of pam-auth-update config"
)

// fillTemplate replaces the two blocks of a template.
func fillTemplate(template, kind string, enabled []pamProfile) string {
	var out strings.Builder
	skip := false
	for line := range strings.Lines(template) {
		text := strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(text, pamFallback) || strings.HasPrefix(text, pamEnd) {
			skip = false
		}
		if skip {
			continue
		}
		out.WriteString(line)
		switch {
		case strings.HasPrefix(text, pamPrimary):
			writeBlock(&out, kind, "Primary", stack(enabled, kind, "Primary"))
			skip = true
		case strings.HasPrefix(text, pamAdditional):
			writeBlock(&out, kind, "Additional", stack(enabled, kind, "Additional"))
			skip = true
		}
	}
	return out.String()
}

var pamLine = regexp.MustCompile(`\A((?:\[[^\]]+\]|\w+)\s+\S+)\s*(.*)\z`)

// writeBlock writes a block's lines. The jump target "end" becomes the number
// of lines to skip.
func writeBlock(out *strings.Builder, kind, block string, modules []pamModule) {
	kind = strings.TrimSuffix(kind, "-noninteractive")
	count := 0
	for _, m := range modules {
		count += len(m.lines)
	}
	if block == "Additional" {
		count--
	} else if count == 0 {
		fmt.Fprintf(out, "%s\t[default=1]\t\t\tpam_permit.so\n", kind)
	}
	for _, m := range modules {
		for _, line := range m.lines {
			if x := pamLine.FindStringSubmatch(line); x != nil {
				control := strings.ReplaceAll(x[1], "end", strconv.Itoa(count))
				line = control + " " + strings.Join(strings.Fields(x[2]), " ")
			}
			fmt.Fprintf(out, "%s\t%s\n", kind, line)
			count--
		}
	}
}

// savedStack is what pam-auth-update compares later configurations with.
func savedStack(enabled []pamProfile, kind string) string {
	var out strings.Builder
	primary := stack(enabled, kind, "Primary")
	if len(primary) == 0 {
		out.WriteString("Module: null\n[default=1]\t\t\tpam_permit.so\n")
	}
	for _, m := range append(primary, stack(enabled, kind, "Additional")...) {
		fmt.Fprintf(&out, "Module: %s\n%s\n", m.profile, strings.Join(m.lines, "\n"))
	}
	return out.String()
}
