package directory

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// portable tells whether an extended attribute means the same on every machine.
func portable(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.")
}

// readXattrs returns the portable attributes of a file, not of what it links to;
// errors call it name.
func readXattrs(path, name string) (map[string]string, error) {
	size, err := unix.Llistxattr(path, nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil, nil
	}
	buf := make([]byte, max(size, 0))
	if err == nil {
		size, err = unix.Llistxattr(path, buf)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "listing extended attributes of", Path: name, Err: err}
	}
	var found map[string]string
	for _, attribute := range strings.Split(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
		if !portable(attribute) {
			continue
		}
		value := make([]byte, 1<<16) // the kernel's limit, XATTR_SIZE_MAX
		n, err := unix.Lgetxattr(path, attribute, value)
		if err != nil {
			return nil, &fs.PathError{Op: "reading extended attribute " + attribute + " of", Path: name, Err: err}
		}
		if found == nil {
			found = map[string]string{}
		}
		found[attribute] = string(value[:n])
	}
	return found, nil
}
