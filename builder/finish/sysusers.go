package finish

import (
	"context"
	"fmt"
	"strings"
)

// makeSystemAccounts makes the users and groups that packages declare in
// sysusers.d(5). Ids that the declarations leave open are made from names.
func makeSystemAccounts(_ context.Context, r *root, _ Input) error {
	a, err := r.loadAccounts()
	if err != nil {
		return err
	}
	var lines []sysuser
	for _, path := range r.merged(".conf", "etc/sysusers.d", "run/sysusers.d", "usr/local/lib/sysusers.d", "usr/lib/sysusers.d") {
		found, err := r.readSysusers(path)
		if err != nil {
			return err
		}
		lines = append(lines, found...)
	}
	a.reserved = numbersIn(lines)
	// Groups first, as users may name them, and members last.
	for _, pass := range []struct {
		kind byte
		add  func(*accounts, sysuser) error
	}{{'g', addGroup}, {'u', addUser}, {'m', addMember}} {
		for _, l := range lines {
			if l.kind != pass.kind {
				continue
			}
			if err := pass.add(a, l); err != nil {
				return fmt.Errorf("%s: %w", l.path, err)
			}
		}
	}
	return a.save(r)
}

// numbersIn returns the ids that lines name: "7", "7:60", "7:group".
func numbersIn(lines []sysuser) map[uint32]bool {
	ids := map[uint32]bool{}
	for _, l := range lines {
		for part := range strings.SplitSeq(l.id, ":") {
			if id, err := parseID(part); err == nil {
				ids[id] = true
			}
		}
	}
	return ids
}

// sysuser is a line of sysusers.d(5).
type sysuser struct {
	path                        string
	kind                        byte // 'u', 'g' or 'm'
	name, id, gecos, dir, shell string
}

func (r *root) readSysusers(path string) ([]sysuser, error) {
	lines, err := r.lines(path)
	if err != nil {
		return nil, err
	}
	var out []sysuser
	for _, line := range lines {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		words, err := splitWords(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for len(words) < 6 {
			words = append(words, "-")
		}
		for i, w := range words {
			if w == "-" {
				words[i] = ""
			}
		}
		kind := strings.TrimSuffix(words[0], "!") // "u!": a locked account, which all of these are
		switch kind {
		case "u", "g", "m":
			out = append(out, sysuser{path: path, kind: kind[0], name: words[1], id: words[2], gecos: words[3], dir: words[4], shell: words[5]})
		case "r": // a range for dynamic ids; ours is fixed
		default:
			return nil, fmt.Errorf("%s: line %q has an unknown type", path, line)
		}
	}
	return out, nil
}

// splitWords splits at white space outside of quotes.
func splitWords(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return words, nil
		}
		if q := line[0]; q == '"' || q == '\'' {
			text, rest, ok := strings.Cut(line[1:], string(q))
			if !ok {
				return nil, fmt.Errorf("line %q: a quote is not closed", line)
			}
			words, line = append(words, text), rest
			continue
		}
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
}

func addGroup(a *accounts, l sysuser) error {
	if a.group(l.name) != nil {
		return nil
	}
	id, err := idOf(a, l.id, l.name)
	if err != nil {
		return err
	}
	a.groups = append(a.groups, group{name: l.name, gid: id})
	return nil
}

// idOf returns the id that is asked for when it is a number, or a free one.
func idOf(a *accounts, wanted, name string) (uint32, error) {
	if wanted == "" || strings.HasPrefix(wanted, "/") {
		return a.freeID(name)
	}
	return parseID(wanted)
}

// addUser adds a user, and a group of the same name unless another is named:
// the id is "-", "uid", "uid:gid" or "uid:group".
func addUser(a *accounts, l sysuser) error {
	if a.user(l.name) != nil {
		return nil
	}
	uidText, groupText, named := strings.Cut(l.id, ":")
	if uidText == "-" {
		uidText = ""
	}
	u := user{name: l.name, gecos: l.gecos, dir: l.dir, shell: l.shell}
	if u.dir == "" {
		u.dir = "/"
	}
	if u.shell == "" {
		u.shell = "/usr/sbin/nologin"
	}
	var err error
	if own := a.group(l.name); own != nil && uidText == "" && !a.hasUID(own.gid) {
		u.uid = own.gid
	} else if u.uid, err = idOf(a, uidText, l.name); err != nil {
		return err
	}
	if u.gid, err = primaryGroup(a, l.name, groupText, named, u.uid); err != nil {
		return err
	}
	a.users = append(a.users, u)
	return nil
}

func primaryGroup(a *accounts, name, wanted string, named bool, uid uint32) (uint32, error) {
	if named {
		if g := a.group(wanted); g != nil {
			return g.gid, nil
		}
		return parseID(wanted)
	}
	if g := a.group(name); g != nil {
		return g.gid, nil
	}
	if a.hasGID(uid) {
		return 0, fmt.Errorf("making group %q: id %d belongs to another group", name, uid)
	}
	a.groups = append(a.groups, group{name: name, gid: uid})
	return uid, nil
}

// addMember puts a user into a group, and makes both where they are missing.
func addMember(a *accounts, l sysuser) error {
	if a.user(l.name) == nil {
		if err := addUser(a, sysuser{name: l.name}); err != nil {
			return err
		}
	}
	if err := addGroup(a, sysuser{name: l.id}); err != nil {
		return err
	}
	return a.addMember(l.id, l.name)
}
