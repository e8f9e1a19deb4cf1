package finish

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/spec"
)

// firstUserID is where people's ids begin (Debian Policy 9.2.2).
const firstUserID = 1000

// makeUsers makes the definition's users, each with a group of its own, a home
// and the keys that log in.
func makeUsers(_ context.Context, r *root, in Input) error {
	if len(in.Users) == 0 {
		return nil
	}
	a, err := r.loadAccounts()
	if err != nil {
		return err
	}
	for i, u := range in.Users {
		if err := r.makeUser(a, u); err != nil {
			return fault.Inputf("users[%d]: %w", i, err)
		}
	}
	return a.save(r)
}

func (r *root) makeUser(a *accounts, u spec.User) error {
	at := a.user(u.Name)
	if at == nil {
		if err := a.addPerson(u); err != nil {
			return err
		}
		at = a.user(u.Name)
	}
	if u.Shell != "" {
		at.shell = u.Shell
	}
	if !r.has(at.shell) {
		return fault.Inputf("user %q: the root has no shell %q", u.Name, at.shell).WithFix("include the package that has it, or set shell to a program of the root")
	}
	for _, g := range u.Groups {
		if err := a.addMember(g, u.Name); err != nil {
			return err
		}
	}
	if err := r.makeHome(*at); err != nil {
		return err
	}
	if err := r.authorize(*at, u.AuthorizedKeys); err != nil {
		return err
	}
	if !u.Sudo {
		return nil
	}
	if !r.has("etc/sudoers.d") {
		return fmt.Errorf("user %q may use sudo, but the root has no sudo: include the package", u.Name)
	}
	// Without passwords there is none to ask for.
	rule := fmt.Sprintf("%s ALL=(ALL:ALL) NOPASSWD: ALL\n", u.Name)
	return r.write("etc/sudoers.d/50-"+u.Name, []byte(rule), owned{mode: 0o440})
}

// addPerson adds a user that isn't there, with a group of the same name and id.
func (a *accounts) addPerson(u spec.User) error {
	id := u.UID
	for id == 0 || u.UID == 0 && (a.hasUID(id) || a.hasGID(id)) {
		id = max(id+1, firstUserID)
	}
	if a.hasUID(id) {
		return fmt.Errorf("user %q: id %d is taken", u.Name, id)
	}
	gid := id
	if g := a.group(u.Name); g != nil {
		gid = g.gid
	} else if a.hasGID(id) {
		return fmt.Errorf("user %q: group id %d is taken", u.Name, id)
	} else {
		a.groups = append(a.groups, group{name: u.Name, gid: gid})
	}
	a.users = append(a.users, user{name: u.Name, uid: id, gid: gid, dir: "/home/" + u.Name, shell: "/bin/bash"})
	return nil
}

// makeHome makes a home from /etc/skel.
func (r *root) makeHome(u user) error {
	home := strings.Trim(u.dir, "/")
	if err := r.makeDir(home, owned{0o700, u.uid, u.gid}); err != nil {
		return err
	}
	for _, name := range r.list("etc/skel", "") {
		data, err := r.read(path.Join("etc/skel", name))
		if err != nil {
			return err
		}
		if to := path.Join(home, name); !r.named(to) {
			if err := r.write(to, data, owned{0o644, u.uid, u.gid}); err != nil {
				return err
			}
		}
	}
	return nil
}

// authorize installs SSH keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
func (r *root) authorize(u user, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	dir := path.Join(strings.Trim(u.dir, "/"), ".ssh")
	if err := r.makeDir(dir, owned{0o700, u.uid, u.gid}); err != nil {
		return err
	}
	if slices.ContainsFunc(keys, func(k string) bool { return strings.ContainsAny(k, "\r\n") }) {
		return fmt.Errorf("user %q: a key has several lines", u.name)
	}
	return r.write(path.Join(dir, "authorized_keys"), []byte(strings.Join(keys, "\n")+"\n"), owned{0o600, u.uid, u.gid})
}
