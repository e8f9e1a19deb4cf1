package finish

import (
	"context"
	"path"
	"slices"
	"strings"
)

// nameService is a module that its package adds to nsswitch.conf (dh_installnss).
type nameService struct {
	library   string
	databases []string
	entry     string
	// before is the entry that it goes in front of; "": at the end.
	before string
}

// nameServices are the modules in the order in which they are added.
var nameServices = []nameService{
	{"libnss_systemd.so.2", []string{"passwd", "group", "shadow", "gshadow"}, "systemd", ""},
	{"libnss_mymachines.so.2", []string{"hosts"}, "mymachines", "dns"},
	{"libnss_resolve.so.2", []string{"hosts"}, "resolve [!UNAVAIL=return]", "dns"},
	{"libnss_myhostname.so.2", []string{"hosts"}, "myhostname", "dns"},
}

// makeNameServices installs nsswitch.conf with the modules that the root has.
func makeNameServices(_ context.Context, r *root, in Input) error {
	text, err := r.read("usr/share/libc-bin/nsswitch.conf")
	if err != nil {
		return err
	}
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		database, _, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			out.WriteString(line)
			continue
		}
		line = strings.TrimRight(line, "\n ")
		for _, s := range nameServices {
			if slices.Contains(s.databases, database) && r.hasLibrary(in, s.library) {
				line = s.addTo(line)
			}
		}
		out.WriteString(line + "\n")
	}
	return r.writeNew("etc/nsswitch.conf", out.String())
}

func (s nameService) addTo(line string) string {
	if s.before != "" {
		if i := strings.Index(line, " "+s.before); i >= 0 {
			return line[:i+1] + s.entry + " " + line[i+1:]
		}
	}
	return line + " " + s.entry
}

func (r *root) hasLibrary(in Input, name string) bool {
	for _, dir := range []string{"usr/lib/" + in.Arch.Machine + "-linux-gnu", "usr/lib", "usr/lib64"} {
		if r.has(path.Join(dir, name)) {
			return true
		}
	}
	return false
}
