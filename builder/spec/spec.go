// Package spec reads a platform definition, the file platform.yaml: strictly,
// with errors that name the file, the line, the field and the remedy. The same
// Go types give the JSON Schema, so that the two can't disagree.
package spec

// FileName is the definition's usual name.
const FileName = "platform.yaml"

// Definition is a platform: one operating system, described once, from which
// the artifacts of all families and architectures are built.
type Definition struct {
	Name          string     `yaml:"name" doc:"the platform's name: file names, the webhook's platform_name and the repository's last part"`
	Architectures []string   `yaml:"architectures" doc:"what to build for; default: all"`
	Families      []string   `yaml:"families" doc:"the artifact families to build; default: all, with disk-image-rpi4 when there is rpi4"`
	Root          Root       `yaml:"root" doc:"where the root file system comes from"`
	Kernel        Kernel     `yaml:"kernel" doc:"where the kernel comes from"`
	Cmdline       []string   `yaml:"cmdline" doc:"kernel parameters; ${console} and ${arch} are replaced; default: console=${console}"`
	Files         string     `yaml:"files" doc:"folder laid over the root: symlinks and executable bits are kept, owner is root"`
	Permissions   []Access   `yaml:"permissions" doc:"modes and owners of single paths of the root, applied last"`
	Users         []User     `yaml:"users" doc:"who logs in"`
	ESP           string     `yaml:"esp" doc:"folder with further files for the EFI system partition"`
	Disk          Disk       `yaml:"disk" doc:"the disk images of raw and qcow2"`
	IPXE          IPXE       `yaml:"ipxe" doc:"the network boot script"`
	Initramfs     Initramfs  `yaml:"initramfs" doc:"what is added to the initramfs"`
	SecureBoot    SecureBoot `yaml:"secure_boot" doc:"who signs the unified kernel image for UEFI Secure Boot; default: nobody"`
	RPi4          *RPi4      `yaml:"rpi4" doc:"what the family disk-image-rpi4 needs; it is built when this is there"`
	Publish       Publish    `yaml:"publish" doc:"where artifacts are pushed"`
}

// Packages names packages of a signed archive.
type Packages struct {
	Suite      string   `yaml:"suite" doc:"the archive's suite or code name, for example trixie"`
	Include    []string `yaml:"include" doc:"packages to unpack; what they depend on comes along"`
	Mirror     string   `yaml:"mirror" doc:"base URL of the archive; default: --mirror, BOOTSMITH_DEBIAN_MIRROR, the build host's apt sources"`
	Components []string `yaml:"components" doc:"archive components; default: [main]"`
	Keyring    string   `yaml:"keyring" doc:"OpenPGP keyring that signs the archive; default: the build host's keyring of the distribution"`

	Repositories []Repository `yaml:"repositories" doc:"further suites, of this archive or of others; of a package that several have, the highest version is taken"`
}

// Repository is a further suite that packages come from.
type Repository struct {
	Suite      string   `yaml:"suite" doc:"its suite or code name, for example trixie-security"`
	Mirror     string   `yaml:"mirror" doc:"base URL of its archive; default: that of the definition's own archive"`
	Components []string `yaml:"components" doc:"its components; default: [main]"`
	Keyring    string   `yaml:"keyring" doc:"OpenPGP keyring that signs it; default: as for the definition's own archive"`
}

// Access sets the mode and the owner of one path.
type Access struct {
	Path  string `yaml:"path" json:"path" doc:"path in the root"`
	Mode  string `yaml:"mode" json:"mode" doc:"octal permission bits, quoted, for example \"0640\""`
	Owner uint32 `yaml:"owner" json:"owner" doc:"numeric user id"`
	Group uint32 `yaml:"group" json:"group" doc:"numeric group id"`
}

// IPXE shapes the network boot script.
type IPXE struct {
	BaseURL string `yaml:"base_url" doc:"URL of the folder with the files of kernel-initrd; ${arch} is replaced; default: relative to the script"`
}

// Publish names the registry.
type Publish struct {
	Repository string `yaml:"repository" doc:"registry and repository prefix; the platform's name is appended"`
}
