package compare

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/powernode/bootsmith/builder"
	"github.com/powernode/bootsmith/builder/source/apt"
	"github.com/powernode/bootsmith/builder/spec"
	"github.com/powernode/bootsmith/families"
)

// Lock returns what a lock tells.
func Lock(name string, l *builder.Lock) Subject {
	s := Subject{Name: name}
	for _, t := range l.Targets {
		s.Sides = append(s.Sides, Side{t.Arch, []Section{
			{Settings, sourceItems(t.Packages, t.Root, t.KernelDigest)},
			{Packages, packageItems(t.Packages)},
		}})
	}
	return s
}

// Plan returns what a plan tells.
func Plan(name string, p *builder.Plan) Subject {
	s := Subject{Name: name}
	for _, t := range p.Targets {
		settings := []Item{
			setting("platform", p.Platform),
			setting("revision", p.Revision),
			setting("created", stamp(time.Unix(p.Epoch, 0))),
			setting("families", strings.Join(p.Families, " ")),
			setting("disk size", strconv.FormatInt(p.DiskSize, 10)),
			setting("base URL", p.BaseURL),
			setting("overlay", p.OverlayDigest),
			setting("files of the EFI system partition", p.ESPDigest),
			setting("modules of the initramfs", strings.Join(p.Boot.Modules, " ")),
			setting("files of the initramfs", p.Boot.FilesDigest),
			setting("Secure Boot certificate", p.Boot.CertificateSHA256),
			setting("init", t.InitSHA256),
			setting("made by bootsmith", p.Version),
			setting("definition", p.DefinitionSHA256),
			setting("lock", p.LockSHA256),
			setting("persist partition", persistText(p.Persist)),
		}
		s.Sides = append(s.Sides, Side{t.Arch, []Section{
			{Settings, append(settings, sourceItems(t.Packages, t.Root, t.KernelDigest)...)},
			{Packages, packageItems(t.Packages)},
			{Cmdline, cmdlineItems(t.Cmdline)},
			{Users, userItems(p.Users)},
			{Permissions, permissionItems(p.Permissions)},
		}})
	}
	return s
}

// setting is an item that has nothing but a value.
func setting(name, value string) Item { return Item{name, []Field{{Name: "value", Value: value}}} }

// persistText describes a partition; nil is none.
func persistText(p *families.Persist) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%s, %d bytes", p.Label, p.Size)
}

// sourceItems tell the state of the package archive and of other sources.
func sourceItems(p builder.Packages, root *builder.RootPin, kernel string) []Item {
	release := func(name, suite string, date time.Time, sha256 string) Item {
		return Item{name, []Field{{Name: "value", Value: suite}, {Name: "released", Value: stamp(date)}, {Name: "sha256", Value: sha256}}}
	}
	items := []Item{release("suite", p.Suite, p.ReleaseDate, p.ReleaseSHA256), setting("kernel files", kernel)}
	var others []string
	for _, r := range p.Repositories {
		others = append(others, r.Suite+" of "+stamp(r.Date)+" "+r.SHA256)
	}
	items = append(items, setting("repositories", strings.Join(others, ", ")))
	if root == nil {
		root = &builder.RootPin{Source: "packages"}
	}
	return append(items, Item{"root", []Field{{Name: "from", Value: root.Source}, {Name: "digest", Value: root.Digest}}})
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func packageItems(p builder.Packages) []Item {
	uses := map[string][]string{}
	for _, x := range []struct {
		use  string
		list []apt.Package
	}{{"root", p.Root}, {"kernel", p.Kernel}, {"stub", p.Stub}} {
		for _, pkg := range x.list {
			uses[pkg.Name] = append(uses[pkg.Name], x.use)
		}
	}
	var items []Item
	for _, pkg := range p.All() {
		items = append(items, packageItem(pkg.Name, pkg.Version, pkg.SHA256, strings.Join(uses[pkg.Name], "+")))
	}
	return items
}

func packageItem(name, version, sha256, use string) Item {
	return Item{name, []Field{
		{Name: "version", Value: version},
		{Name: "use", Value: use},
		{Name: "sha256", Value: sha256, Implied: true},
	}}
}

// cmdlineItems are kernel parameters: those with a value by name, with all the
// values that stand there.
func cmdlineItems(parameters []string) []Item {
	var items []Item
	at := map[string]int{}
	for _, p := range parameters {
		key, value, valued := strings.Cut(p, "=")
		i, again := at[key]
		switch {
		case !again && valued:
			at[key] = len(items)
			items = append(items, setting(key, value))
		case !again:
			at[key] = len(items)
			items = append(items, Item{Name: key})
		case valued && items[i].Fields == nil:
			items[i] = setting(key, value)
		case valued:
			items[i].Fields[0].Value += " " + value
		}
	}
	return items
}

func userItems(users []spec.User) []Item {
	items := []Item{}
	for _, u := range users {
		items = append(items, Item{u.Name, []Field{
			{Name: "uid", Value: fmt.Sprint(u.UID)},
			{Name: "groups", Value: strings.Join(u.Groups, " ")},
			{Name: "shell", Value: u.Shell},
			{Name: "keys", Value: strings.Join(u.AuthorizedKeys, ", ")},
			{Name: "sudo", Value: fmt.Sprint(u.Sudo)},
		}})
	}
	return items
}

func permissionItems(list []spec.Access) []Item {
	items := []Item{}
	for _, a := range list {
		items = append(items, Item{a.Path, []Field{
			{Name: "mode", Value: a.Mode},
			{Name: "owner", Value: fmt.Sprintf("%d:%d", a.Owner, a.Group)},
		}})
	}
	return items
}
