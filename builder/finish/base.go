package finish

import (
	"context"
	"fmt"
	"strings"
)

// makeBaseAccounts installs the accounts that every system has, as
// update-passwd(8) does.
func makeBaseAccounts(_ context.Context, r *root, _ Input) error {
	if r.named(passwdFile) || r.named(groupFile) {
		return nil
	}
	const dir = "usr/share/base-passwd/"
	a, err := r.readAccounts(dir+"passwd.master", dir+"group.master")
	if err != nil {
		return err
	}
	return a.save(r)
}

// shadowGID is the static group that may read password hashes (base-passwd).
const shadowGID = 42

// makeShadow writes /etc/shadow and /etc/gshadow (shadow(5), gshadow(5)) for all
// accounts. Nobody has a password: "*" is no hash of any, so that logging in
// takes a key. System accounts that services run as are locked as well.
func makeShadow(_ context.Context, r *root, in Input) error {
	a, err := r.loadAccounts()
	if err != nil {
		return err
	}
	day := in.Epoch / 86400
	var users, groups strings.Builder
	for _, u := range a.users {
		switch {
		case u.uid >= firstSystemID && u.uid <= lastSystemID:
			fmt.Fprintf(&users, "%s:!*:%d::::::\n", u.name, day)
		default:
			fmt.Fprintf(&users, "%s:*:%d:0:99999:7:::\n", u.name, day)
		}
	}
	for _, g := range a.groups {
		fmt.Fprintf(&groups, "%s:*::%s\n", g.name, strings.Join(g.members, ","))
	}
	for _, f := range []struct{ name, text string }{{"etc/shadow", users.String()}, {"etc/gshadow", groups.String()}} {
		if r.named(f.name) {
			continue
		}
		if err := r.write(f.name, []byte(f.text), owned{0o640, 0, shadowGID}); err != nil {
			return err
		}
	}
	return nil
}
