package finish

import (
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
)

// template is a common-* file of libpam-runtime.
func template(kind string) string {
	return "# head\n" + pamPrimary + "\n$" + kind + "_primary\n" + pamFallback + "\n" + kind + "\trequisite\t\t\tpam_deny.so\n" +
		kind + "\trequired\t\t\tpam_permit.so\n" + pamAdditional + "\n$" + kind + "_additional\n" + pamEnd + "\n"
}

func pamFiles(profiles files) files {
	f := files{}
	for _, kind := range pamTypes {
		f["usr/share/pam/common-"+kind] = template(strings.TrimSuffix(kind, "-noninteractive"))
	}
	for name, text := range profiles {
		f["usr/share/pam-configs/"+name] = text
	}
	return f
}

const unixProfile = `Name: Unix authentication
Default: yes
Priority: 256
Auth-Type: Primary
Auth:
	[success=end default=ignore]	pam_unix.so nullok try_first_pass
Auth-Initial:
	[success=end default=ignore]	pam_unix.so nullok
Account-Type: Primary
Account:
	[success=end new_authtok_reqd=done default=ignore]	pam_unix.so
Session-Type: Additional
Session:
	required	pam_unix.so
Password-Type: Primary
Password:
	[success=end default=ignore]	pam_unix.so obscure use_authtok yescrypt
Password-Initial:
	[success=end default=ignore]	pam_unix.so obscure yescrypt
`

const systemdProfile = `Name: Register sessions
Default: yes
Priority: 0
Session-Interactive-Only: yes
Session-Type: Additional
Session:
	optional	pam_systemd.so
`

const ldapProfile = `Name: LDAP
Default: yes
Priority: 128
Conflicts: fingerprint, other
Auth-Type: Primary
Auth:
	[success=end default=ignore]	pam_ldap.so minimum_uid=1000 use_first_pass
Auth-Initial:
	[success=end default=ignore]	pam_ldap.so minimum_uid=1000
`

func filled(kind, primary, additional string) string {
	s := strings.Replace(template(kind), "$"+kind+"_primary\n", primary, 1)
	return strings.Replace(s, "$"+kind+"_additional\n", additional, 1)
}

// The results are what pam-auth-update of libpam-runtime 1.7 writes.
func TestPAM(t *testing.T) {
	r := newTree(t, pamFiles(files{"unix": unixProfile, "systemd": systemdProfile, "off": "Name: x\nDefault: no\nAuth-Type: Primary\nAuth:\n\tsufficient pam_permit.so\n"}))
	if err := makePAM(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	none := "session\t[default=1]\t\t\tpam_permit.so\n"
	expect(t, r, files{
		"etc/pam.d/common-auth":                   filled("auth", "auth\t[success=1 default=ignore]\tpam_unix.so nullok\n", ""),
		"etc/pam.d/common-account":                filled("account", "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so \n", ""),
		"etc/pam.d/common-password":               filled("password", "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n", ""),
		"etc/pam.d/common-session":                filled("session", none, "session\trequired\tpam_unix.so \nsession\toptional\tpam_systemd.so \n"),
		"etc/pam.d/common-session-noninteractive": filled("session", none, "session\trequired\tpam_unix.so \n"),
		"var/lib/pam/auth":                        "Module: unix\n[success=end default=ignore]\tpam_unix.so nullok\n",
		"var/lib/pam/session":                     "Module: null\n[default=1]\t\t\tpam_permit.so\nModule: unix\nrequired\tpam_unix.so\nModule: systemd\noptional\tpam_systemd.so\n",
		"var/lib/pam/seen":                        "unix\nsystemd\noff\n",
	})
}

// A second module in a block doesn't ask for the password again, and jumps over
// what is behind it; of two that conflict, the first stays.
func TestPAMStacks(t *testing.T) {
	r := newTree(t, pamFiles(files{"unix": unixProfile, "ldap": ldapProfile, "fingerprint": "Default: yes\nPriority: 1\nAuth-Type: Primary\nAuth:\n\tsufficient pam_fprintd.so\n"}))
	if err := makePAM(t.Context(), r, input(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r, files{
		"etc/pam.d/common-auth": filled("auth", "auth\t[success=2 default=ignore]\tpam_unix.so nullok\nauth\t[success=1 default=ignore]\tpam_ldap.so minimum_uid=1000 use_first_pass\n", ""),
	})
}

// Without a module that decides, the template would let everybody in.
func TestPAMNeverPermitsAll(t *testing.T) {
	for name, profiles := range map[string]files{
		"auth":     {"systemd": systemdProfile},
		"account":  {"x": "Default: yes\nAuth-Type: Primary\nAuth:\n\trequired pam_x.so\n"},
		"password": {"x": strings.ReplaceAll(unixProfile, "Password-Type: Primary", "Password-Type: None")},
	} {
		err := makePAM(t.Context(), newTree(t, pamFiles(profiles)), input(t))
		if fault.ClassOf(err) != fault.Input || !strings.Contains(err.Error(), `decides about "`+name+`"`) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add(unixProfile)
	f.Add(ldapProfile)
	f.Fuzz(func(t *testing.T, text string) {
		enabled := enabledProfiles([]pamProfile{parseProfile("x", text)})
		for _, kind := range pamTypes {
			out := fillTemplate(template("auth"), kind, enabled)
			if !strings.HasSuffix(out, pamEnd+"\n") {
				t.Errorf("the template's end is lost:\n%s", out)
			}
		}
	})
}
