package spec

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// User is somebody who logs in.
type User struct {
	Name           string   `yaml:"name" json:"name" doc:"login name; a user that packages make, root for example, is changed instead of made"`
	UID            uint32   `yaml:"uid" json:"uid" doc:"user id from 1000 to 59999; default: the first free one from 1000"`
	Groups         []string `yaml:"groups" json:"groups" doc:"further groups of the user; packages make them"`
	Shell          string   `yaml:"shell" json:"shell" doc:"login shell; default: /bin/bash"`
	AuthorizedKeys []string `yaml:"authorized_keys" json:"authorized_keys" doc:"SSH public keys that log in; nobody has a password"`
	Sudo           bool     `yaml:"sudo" json:"sudo" doc:"whether the user may run anything as root, without a password"`
}

// Where a kernel's modules are kept.
const (
	ModulesInRoot      = "root"
	ModulesInInitramfs = "initramfs"
)

var (
	// userPattern is what useradd(8) takes for a name.
	userPattern  = regexp.MustCompile(`\A[a-z_][a-z0-9_-]{0,31}\z`)
	shellPattern = regexp.MustCompile(`\A/[A-Za-z0-9._/-]+\z`)
	keyPattern   = regexp.MustCompile(`(?:\A| )((?:ssh|ecdsa|sk)-[a-z0-9@.-]+) ([A-Za-z0-9+/]+=*)(?: [^\r\n]*)?\z`)
)

// Ids of people (Debian Policy 9.2.2).
const (
	firstUserID = 1000
	lastUserID  = 59999
)

func (f *File) validateUsers() error {
	if len(f.Users) > 0 && !f.Root.hasArchive() {
		return f.Bad("users", "a root that doesn't come from packages has its users already").WithFix("make them where the root is made")
	}
	for i, u := range f.Users {
		field := fmt.Sprintf("users[%d]", i)
		same := func(v User) bool { return v.Name == u.Name || u.UID != 0 && v.UID == u.UID }
		switch {
		case u.Name == "":
			return f.Bad(field+".name", "missing").WithFix("give the user a name")
		case !userPattern.MatchString(u.Name):
			return f.Bad(field+".name", "%q is not a user name", u.Name).WithFix("use up to 32 lower-case letters, digits, dashes and underscores")
		case u.UID != 0 && (u.UID < firstUserID || u.UID > lastUserID):
			return f.Bad(field+".uid", "%d is not an id for people", u.UID).WithFix("use %d to %d, or leave it out", firstUserID, lastUserID)
		case slices.ContainsFunc(f.Users[:i], same):
			return f.Bad(field, "the name or the id stands there twice").WithFix("remove one")
		case u.Shell != "" && (!shellPattern.MatchString(u.Shell) || path.Clean(u.Shell) != u.Shell):
			return f.Bad(field+".shell", "%q is not an absolute path", u.Shell)
		}
		for j, g := range u.Groups {
			if !userPattern.MatchString(g) {
				return f.Bad(fmt.Sprintf("%s.groups[%d]", field, j), "%q is not a group name", g)
			}
		}
		for j, k := range u.AuthorizedKeys {
			if err := checkKey(k); err != nil {
				return f.Bad(fmt.Sprintf("%s.authorized_keys[%d]", field, j), "%v", err).WithFix("paste the line of a .pub file")
			}
		}
	}
	return nil
}

// checkKey checks a line of authorized_keys: options, type, key and comment. The
// key's bytes begin with the type again, after its length (RFC 4253, 6.6).
func checkKey(line string) error {
	m := keyPattern.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("it is not an SSH public key")
	}
	key, err := base64.StdEncoding.DecodeString(m[2])
	if err != nil {
		return fmt.Errorf("the key is damaged: %v", err)
	}
	kind := strings.TrimSuffix(m[1], "-cert-v01@openssh.com")
	if len(key) < 4+len(kind) || int(binary.BigEndian.Uint32(key)) < len(kind) || !strings.HasPrefix(string(key[4:]), kind) {
		return fmt.Errorf("the key is damaged: it isn't of type %s", m[1])
	}
	return nil
}
