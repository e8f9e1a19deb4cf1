package bootc

import (
	"slices"
	"strings"
)

const (
	passwdFile  = "etc/passwd"
	groupFile   = "etc/group"
	sysusersDir = "usr/lib/sysusers.d"
)

func checkSysusers(img Image) (problems []string, err error) {
	users, groups, err := UndeclaredAccounts(img)
	for _, name := range users {
		problems = append(problems, "the user "+name)
	}
	for _, name := range groups {
		problems = append(problems, "the group "+name)
	}
	return problems, err
}

// UndeclaredAccounts returns the users and groups of /etc that sysusers.d does
// not make, sorted.
func UndeclaredAccounts(img Image) (users, groups []string, err error) {
	passwd, ok, err := img.read(passwdFile)
	if err != nil || !ok {
		return nil, nil, err
	}
	group, _, err := img.read(groupFile)
	if err != nil {
		return nil, nil, err
	}
	madeUsers, madeGroups, err := img.sysusers()
	if err != nil {
		return nil, nil, err
	}
	users = slices.DeleteFunc(accounts(passwd), func(name string) bool { return madeUsers[name] })
	groups = slices.DeleteFunc(accounts(group), func(name string) bool { return madeGroups[name] })
	return users, groups, nil
}

// accounts returns the names in a passwd or group file, sorted; lines of the
// compatibility mode are left out.
func accounts(data []byte) []string {
	var names []string
	for _, line := range configLines(data) {
		if name, _, _ := strings.Cut(line, ":"); name != "" && !strings.ContainsAny(name[:1], "+-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sysusers returns the users and groups that sysusers.d makes (sysusers.d(5));
// a user has a group of the same name.
func (img Image) sysusers() (users, groups map[string]bool, err error) {
	users, groups = map[string]bool{}, map[string]bool{}
	err = img.eachFile(sysusersDir, ".conf", func(_ string, data []byte) error {
		for _, line := range configLines(data) {
			fields := configFields(line)
			if len(fields) < 2 {
				continue
			}
			switch fields[0] {
			case "u", "u!":
				users[fields[1]], groups[fields[1]] = true, true
			case "g":
				groups[fields[1]] = true
			}
		}
		return nil
	})
	return users, groups, err
}
