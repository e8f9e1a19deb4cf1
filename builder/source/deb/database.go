package deb

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

const databaseDir = "var/lib/dpkg"

// WriteDatabase writes dpkg's database of unpacked packages into a tree, as
// dpkg(1) lays it out: /var/lib/dpkg/status, and in /var/lib/dpkg/info the
// list of files and the control files of every package. Files get the given
// modification time, in seconds since 1970. The packages' state is "unpacked":
// their maintainer scripts have not run.
func WriteDatabase(t *tree.Tree, s *store.Store, packages []*Package, mtime int64) error {
	sorted := slices.Clone(packages)
	slices.SortStableFunc(sorted, func(a, b *Package) int {
		return strings.Compare(a.Field("Package")+" "+a.Field("Architecture"), b.Field("Package")+" "+b.Field("Architecture"))
	})
	w := databaseWriter{t, s, mtime}
	var status strings.Builder
	for _, p := range sorted {
		writeStatus(&status, p)
		if err := w.info(p); err != nil {
			return err
		}
	}
	if err := w.file("info/format", 0o644, "1\n"); err != nil {
		return err
	}
	return w.file("status", 0o644, status.String())
}

// writeStatus writes the package's control stanza with its state.
func writeStatus(b *strings.Builder, p *Package) {
	fmt.Fprintf(b, "Package: %s\nStatus: install ok unpacked\n", p.Field("Package"))
	conffiles := statusConffiles(p)
	for _, f := range p.Control {
		switch strings.ToLower(f.Name) {
		case "package", "status", "conffiles":
			continue
		case "description": // dpkg puts it last but for the homepage
			b.WriteString(conffiles)
			conffiles = ""
		}
		if strings.HasPrefix(f.Value, "\n") {
			fmt.Fprintf(b, "%s:%s\n", f.Name, f.Value)
		} else {
			fmt.Fprintf(b, "%s: %s\n", f.Name, f.Value)
		}
	}
	b.WriteString(conffiles + "\n")
}

// statusConffiles returns the field that holds the digests of the package's
// configuration files as shipped.
func statusConffiles(p *Package) string {
	sums := map[string]string{}
	for i := range p.Entries {
		sums[p.Entries[i].Path] = p.Entries[i].MD5
	}
	var b strings.Builder
	for _, path := range p.Conffiles() {
		if sums[path] != "" {
			fmt.Fprintf(&b, " /%s %s\n", path, sums[path])
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "Conffiles:\n" + b.String()
}

type databaseWriter struct {
	t     *tree.Tree
	s     *store.Store
	mtime int64
}

// info writes a package's files in /var/lib/dpkg/info. A package that can be
// installed for several architectures at a time has its own in their names.
func (w databaseWriter) info(p *Package) error {
	prefix := "info/" + p.Field("Package")
	if p.Field("Multi-Arch") == "same" {
		prefix += ":" + p.Field("Architecture")
	}
	var list, sums strings.Builder
	for i := range p.Entries {
		e := &p.Entries[i]
		if e.Path == "" {
			list.WriteString("/.\n")
			continue
		}
		list.WriteString("/" + e.Path + "\n")
		if e.MD5 != "" {
			fmt.Fprintf(&sums, "%s  %s\n", e.MD5, e.Path)
		}
	}
	if err := w.file(prefix+".list", 0o644, list.String()); err != nil {
		return err
	}
	if _, ok := p.File("md5sums"); !ok && sums.Len() > 0 {
		if err := w.file(prefix+".md5sums", 0o644, sums.String()); err != nil {
			return err
		}
	}
	for _, f := range p.Files {
		if err := w.file(prefix+"."+f.Name, f.Mode, f.Data); err != nil {
			return err
		}
	}
	return nil
}

func (w databaseWriter) file(name string, mode uint32, data string) error {
	c, size, err := w.s.Put(strings.NewReader(data))
	if err == nil {
		err = w.t.Put(databaseDir+"/"+name, &tree.Inode{Mode: tree.TypeRegular | mode&uint32(fs.ModePerm), Mtime: w.mtime, Content: c, Size: size})
	}
	if err != nil {
		return fmt.Errorf("writing dpkg's database: %w", err)
	}
	return nil
}
