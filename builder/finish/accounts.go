package finish

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// user is a line of /etc/passwd (passwd(5)).
type user struct {
	name              string
	uid, gid          uint32
	gecos, dir, shell string
}

// group is a line of /etc/group (group(5)).
type group struct {
	name    string
	gid     uint32
	members []string
}

// accounts are the contents of /etc/passwd and /etc/group, in their order.
type accounts struct {
	users  []user
	groups []group
	// reserved are ids that declarations ask for and nobody has yet.
	reserved map[uint32]bool
}

const (
	passwdFile = "etc/passwd"
	groupFile  = "etc/group"
)

func (r *root) loadAccounts() (*accounts, error) { return r.readAccounts(passwdFile, groupFile) }

func (r *root) readAccounts(passwd, groups string) (*accounts, error) {
	a := &accounts{}
	lines, err := r.lines(passwd)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, ":")
		if len(f) != 7 {
			return nil, fmt.Errorf("reading %q: line %q has %d fields instead of 7", passwd, line, len(f))
		}
		u := user{name: f[0], gecos: f[4], dir: f[5], shell: f[6]}
		if u.uid, err = parseID(f[2]); err != nil {
			return nil, fmt.Errorf("reading %q: user %q: %w", passwd, u.name, err)
		}
		if u.gid, err = parseID(f[3]); err != nil {
			return nil, fmt.Errorf("reading %q: user %q: %w", passwd, u.name, err)
		}
		a.users = append(a.users, u)
	}
	return a, r.readGroups(a, groups)
}

func (r *root) readGroups(a *accounts, name string) error {
	lines, err := r.lines(name)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, ":")
		if len(f) != 4 {
			return fmt.Errorf("reading %q: line %q has %d fields instead of 4", name, line, len(f))
		}
		g := group{name: f[0]}
		if g.gid, err = parseID(f[2]); err != nil {
			return fmt.Errorf("reading %q: group %q: %w", name, g.name, err)
		}
		if f[3] != "" {
			g.members = strings.Split(f[3], ",")
		}
		a.groups = append(a.groups, g)
	}
	return nil
}

// parseID parses a user or group id; the all-ones one and its 16-bit form stand
// for "none" in system calls.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0xffffffff || n == 0xffff {
		return 0, fmt.Errorf("%q is not an id", s)
	}
	return uint32(n), nil
}

// save writes both files. Passwords are in /etc/shadow, which a later step
// makes.
func (a *accounts) save(r *root) error {
	var users, groups strings.Builder
	for _, u := range a.users {
		fmt.Fprintf(&users, "%s:x:%d:%d:%s:%s:%s\n", u.name, u.uid, u.gid, u.gecos, u.dir, u.shell)
	}
	for _, g := range a.groups {
		fmt.Fprintf(&groups, "%s:x:%d:%s\n", g.name, g.gid, strings.Join(g.members, ","))
	}
	if err := r.write(passwdFile, []byte(users.String()), owned{mode: 0o644}); err != nil {
		return err
	}
	return r.write(groupFile, []byte(groups.String()), owned{mode: 0o644})
}

func (a *accounts) user(name string) *user {
	i := slices.IndexFunc(a.users, func(u user) bool { return u.name == name })
	if i < 0 {
		return nil
	}
	return &a.users[i]
}

func (a *accounts) group(name string) *group {
	i := slices.IndexFunc(a.groups, func(g group) bool { return g.name == name })
	if i < 0 {
		return nil
	}
	return &a.groups[i]
}

func (a *accounts) hasUID(id uint32) bool {
	return slices.ContainsFunc(a.users, func(u user) bool { return u.uid == id })
}

func (a *accounts) hasGID(id uint32) bool {
	return slices.ContainsFunc(a.groups, func(g group) bool { return g.gid == id })
}

// addMember adds a user to a group.
func (a *accounts) addMember(groupName, userName string) error {
	g := a.group(groupName)
	if g == nil {
		return fmt.Errorf("adding user %q to group %q: no package makes this group", userName, groupName)
	}
	if !slices.Contains(g.members, userName) {
		g.members = append(g.members, userName)
	}
	return nil
}

// Dynamically allocated ids of system accounts (Debian Policy 9.2.2).
const (
	firstSystemID = 100
	lastSystemID  = 999
)

// freeID returns an id that neither a user nor a group has. It is made from the
// name, so that a further package doesn't renumber the accounts of others:
// their files may have been on a machine's disk since an earlier build.
func (a *accounts) freeID(name string) (uint32, error) {
	const count = lastSystemID - firstSystemID + 1
	sum := sha256.Sum256([]byte(name))
	start := binary.LittleEndian.Uint32(sum[:]) % count
	for i := range uint32(count) {
		id := lastSystemID - (start+i)%count
		if !a.hasUID(id) && !a.hasGID(id) && !a.reserved[id] {
			return id, nil
		}
	}
	return 0, fmt.Errorf("finding an id for %q: all from %d to %d are taken", name, firstSystemID, lastSystemID)
}
