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
	passwd, ok, err := img.read(passwdFile)
	if err != nil || !ok {
		return nil, err
	}
	group, _, err := img.read(groupFile)
	if err != nil {
		return nil, err
	}
	users, groups, err := img.sysusers()
	if err != nil {
		return nil, err
	}
	for _, name := range accounts(passwd) {
		if !users[name] {
			problems = append(problems, "the user "+name)
		}
	}
	for _, name := range accounts(group) {
		if !groups[name] {
			problems = append(problems, "the group "+name)
		}
	}
	return problems, nil
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
