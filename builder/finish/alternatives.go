package finish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// scripts calls fn with the words of every command that starts with one of a
// package's maintainer scripts, with lines joined and quotes removed. It is for
// the plain calls that packages make, not for a shell's full language.
func (r *root) scripts(fn func(script, command string)) error {
	const dir = "var/lib/dpkg/info"
	for _, name := range r.list(dir, ".postinst") {
		text, err := r.read(dir + "/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		joined := strings.ReplaceAll(string(text), "\\\n", " ")
		for line := range strings.SplitSeq(joined, "\n") {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				fn(name, line)
			}
		}
	}
	return nil
}

// alternative is a call of update-alternatives(1) --install.
type alternative struct {
	link, name, path string
	priority         int
	slaves           []alternative
}

// makeAlternatives links the alternative of the highest priority for every
// name. The alternatives are the calls with literal arguments in the packages'
// postinst scripts.
func makeAlternatives(_ context.Context, r *root, _ Input) error {
	byName := map[string][]alternative{}
	err := r.scripts(func(_, command string) {
		if a, ok := parseAlternative(command); ok && r.has(a.path) {
			byName[a.name] = append(byName[a.name], a)
		}
	})
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(byName) {
		best := byName[name][0]
		for _, a := range byName[name][1:] {
			if a.priority > best.priority {
				best = a
			}
		}
		if err := r.choose(best); err != nil {
			return err
		}
		if err := r.writeNew("var/lib/dpkg/alternatives/"+name, record(byName[name])); err != nil {
			return err
		}
	}
	return nil
}

// parseAlternative parses "update-alternatives [OPTION]... --install LINK NAME
// PATH PRIORITY [--slave LINK NAME PATH]...".
func parseAlternative(command string) (alternative, bool) {
	words := strings.Fields(command)
	if len(words) == 0 || words[0] != "update-alternatives" || strings.ContainsAny(command, "$`\"'*") {
		return alternative{}, false
	}
	for i, w := range words {
		if w != "--install" || len(words) < i+5 {
			continue
		}
		priority, err := strconv.Atoi(words[i+4])
		if err != nil {
			return alternative{}, false
		}
		a := alternative{link: words[i+1], name: words[i+2], path: words[i+3], priority: priority}
		for rest := words[i+5:]; len(rest) >= 4 && rest[0] == "--slave"; rest = rest[4:] {
			a.slaves = append(a.slaves, alternative{link: rest[1], name: rest[2], path: rest[3]})
		}
		return a, strings.HasPrefix(a.link, "/") && !strings.Contains(a.name, "/")
	}
	return alternative{}, false
}

func (r *root) choose(a alternative) error {
	for _, x := range append([]alternative{a}, a.slaves...) {
		if !r.has(x.path) {
			continue
		}
		if err := r.link("etc/alternatives/"+x.name, x.path); err != nil {
			return err
		}
		if err := r.link(x.link, "/etc/alternatives/"+x.name); err != nil {
			return err
		}
	}
	return nil
}

// record is the file in which update-alternatives keeps what it knows of a
// name: mode, link, slaves' names and links, then each alternative's path,
// priority and slaves' paths.
func record(all []alternative) string {
	links := map[string]string{}
	for _, a := range all {
		for _, s := range a.slaves {
			links[s.name] = s.link
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "auto\n%s\n", all[0].link)
	for _, name := range sortedKeys(links) {
		fmt.Fprintf(&b, "%s\n%s\n", name, links[name])
	}
	b.WriteString("\n")
	for _, a := range all {
		fmt.Fprintf(&b, "%s\n%d\n", a.path, a.priority)
		for _, name := range sortedKeys(links) {
			for _, s := range a.slaves {
				if s.name == name {
					b.WriteString(s.path)
				}
			}
			b.WriteString("\n")
		}
	}
	b.WriteString("\n")
	return b.String()
}
