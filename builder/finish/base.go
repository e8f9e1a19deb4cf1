package finish

import (
	"context"
	"fmt"
	"slices"
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
// takes a key. System accounts that services run as are locked as well. Scripts
// have written lines for their accounts; those that were added since get theirs.
func makeShadow(_ context.Context, r *root, in Input) error {
	a, err := r.loadAccounts()
	if err != nil {
		return err
	}
	day := in.Epoch / 86400
	var users, groups []string
	for _, u := range a.users {
		switch {
		case u.uid >= firstSystemID && u.uid <= lastSystemID:
			users = append(users, fmt.Sprintf("%s:!*:%d::::::", u.name, day))
		default:
			users = append(users, fmt.Sprintf("%s:*:%d:0:99999:7:::", u.name, day))
		}
	}
	for _, g := range a.groups {
		groups = append(groups, fmt.Sprintf("%s:*::%s", g.name, strings.Join(g.members, ",")))
	}
	for _, f := range []struct {
		name  string
		lines []string
	}{{"etc/shadow", users}, {"etc/gshadow", groups}} {
		if r.named(f.name) && in.State == Unpacked {
			continue
		}
		kept, err := r.lines(f.name)
		if err != nil {
			return err
		}
		text := strings.Join(addAccounts(kept, f.lines), "\n") + "\n"
		if err := r.write(f.name, []byte(text), owned{0o640, 0, shadowGID}); err != nil {
			return err
		}
	}
	return nil
}

// addAccounts adds to the lines of an account file those of accounts that it
// lacks, and to the lines of groups members that these lack.
func addAccounts(kept, lines []string) []string {
	for _, line := range lines {
		name, _, _ := strings.Cut(line, ":")
		i := slices.IndexFunc(kept, func(k string) bool { return strings.HasPrefix(k, name+":") })
		if i < 0 {
			kept = append(kept, line)
			continue
		}
		if fields := strings.Split(kept[i], ":"); len(fields) == 4 {
			kept[i] = strings.Join(fields[:3], ":") + line[strings.LastIndexByte(line, ':'):]
		}
	}
	return kept
}
