package apt

import (
	"slices"
	"strings"
)

// distribution is what differs between the archives of Debian and Ubuntu.
type distribution struct {
	keyring        string
	keyringPackage string
	// folders are the last path elements of the main archive's usual URLs.
	folders []string
}

// ubuntuSuites are the code names whose archive is Ubuntu's; every other suite
// is taken for Debian's.
var ubuntuSuites = []string{
	"trusty", "xenial", "bionic", "focal", "jammy", "lunar", "mantic", "noble",
	"oracular", "plucky", "questing", "resolute", "devel",
}

// distributionOf returns the distribution that a suite, perhaps with a suffix
// as in "noble-updates", belongs to.
func distributionOf(suite string) distribution {
	base, _, _ := strings.Cut(suite, "-")
	if slices.Contains(ubuntuSuites, base) {
		return distribution{
			keyring:        "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
			keyringPackage: "ubuntu-keyring",
			folders:        []string{"ubuntu", "ubuntu-ports"},
		}
	}
	return distribution{
		keyring:        "/usr/share/keyrings/debian-archive-keyring.gpg",
		keyringPackage: "debian-archive-keyring",
		folders:        []string{"debian"},
	}
}

// DefaultKeyring returns the file in which the distribution of a suite keeps
// its archive's keys.
func DefaultKeyring(suite string) string { return distributionOf(suite).keyring }
