package deb_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/source"
	"github.com/powernode/bootsmith/builder/source/apt/apttest"
	"github.com/powernode/bootsmith/builder/source/deb"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

func open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(s *store.Store, data []byte) (*deb.Package, error) {
	return deb.Read(context.Background(), bytes.NewReader(data), s, 2, source.Limits{Entries: 1000, Bytes: 16 << 20})
}

func rich(compression string) apttest.Deb {
	big := strings.Repeat("0123456789abcdef", 1000)
	return apttest.Deb{
		Name: "rich", Fields: []string{"Depends: a (>= 1)"}, Compression: compression,
		Scripts: map[string]string{"conffiles": "/etc/rich.conf\nremove-on-upgrade /etc/gone\n", "md5sums": "0  usr/bin/rich\n", "postinst": "#!/bin/sh\n"},
		Files: []apttest.Member{
			apttest.File("./", ""), apttest.File("./etc/", ""), apttest.File("./etc/rich.conf", "small"),
			apttest.File("./usr/", ""), apttest.File("./usr/bin/", ""),
			{Header: tar.Header{Name: "./usr/bin/rich", Mode: 0o4755, Uid: 7, Gid: 8, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\xff\n"}}, Data: big},
			{Header: tar.Header{Name: "./usr/bin/hard", Typeflag: tar.TypeLink, Linkname: "./usr/bin/rich"}},
			{Header: tar.Header{Name: "./usr/bin/soft", Typeflag: tar.TypeSymlink, Linkname: "rich", Mode: 0o777}},
			{Header: tar.Header{Name: "./usr/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
			{Header: tar.Header{Name: "./usr/odd\x80\xffname\t", Format: tar.FormatGNU}, Data: ""},
		},
	}
}

func TestReadAllCompressions(t *testing.T) {
	var first *deb.Package
	for _, c := range []string{".xz", ".gz", ".zst", "none"} {
		p, err := read(open(t), rich(c).Bytes())
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if first == nil {
			first = p
		} else if !reflect.DeepEqual(first, p) {
			t.Errorf("%s: reads other than .xz", c)
		}
	}
	if first.Field("Depends") != "a (>= 1)" || len(first.Files) != 3 || !reflect.DeepEqual(first.Conffiles(), []string{"etc/rich.conf"}) {
		t.Errorf("control: %+v", first.Control)
	}
}

func TestApplyKeepsMetadata(t *testing.T) {
	s := open(t)
	p, err := read(s, rich("").Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if p, err = deb.Unmarshal(p.Marshal()); err != nil { // as from the cache
		t.Fatal(err)
	}
	if !p.Stored(s) || p.Stored(open(t)) {
		t.Error("Stored is wrong")
	}
	tr := tree.New(0)
	if err := p.Apply(tr, nil); err != nil {
		t.Fatal(err)
	}
	n, err := tr.Lookup("usr/bin/rich")
	if err != nil {
		t.Fatal(err)
	}
	i := n.Inode
	if i.Mode != tree.TypeRegular|0o4755 || i.UID != 7 || i.GID != 8 || i.Mtime != apttest.Epoch().Unix() ||
		i.Size != 16000 || i.Links() != 2 || i.Xattrs["security.capability"] != "\x01\x00\xff\n" {
		t.Errorf("usr/bin/rich: %+v", i)
	}
	r, err := s.Open(i.Content)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || len(b) != 16000 {
		t.Errorf("%d bytes, error %v", len(b), err)
	}
	if n, err := tr.Lookup("usr/null"); err != nil || n.Inode.Mode != tree.TypeChar|0o644 || n.Inode.Minor != 3 {
		t.Errorf("usr/null: %v", err)
	}
	if _, err := tr.Lookup("usr/odd\x80\xffname\t"); err != nil {
		t.Error(err)
	}
}

func TestApplyFollowsDpkg(t *testing.T) {
	s := open(t)
	base, err := read(s, apttest.Deb{Name: "base", Files: []apttest.Member{
		{Header: tar.Header{Name: "./tmp/", Mode: 0o1777}}, apttest.File("./usr/lib/", ""),
		{Header: tar.Header{Name: "./lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"}},
	}}.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	other, err := read(s, apttest.Deb{Name: "other", Files: []apttest.Member{
		apttest.File("./tmp/", ""), apttest.File("./lib/", ""), apttest.File("./lib/x", "1"),
		{Header: tar.Header{Name: "./usr/lib", Typeflag: tar.TypeSymlink, Linkname: "elsewhere"}},
		{Header: tar.Header{Name: "./usr/y", Typeflag: tar.TypeLink, Linkname: "lib/x"}},
	}}.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	tr := tree.New(0)
	for _, p := range []*deb.Package{base, other} {
		if err := p.Apply(tr, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := tr.Lookup("tmp"); n == nil || n.Inode.Mode&0o7777 != 0o1777 {
		t.Error("an existing directory's mode was changed")
	}
	for _, path := range []string{"usr/lib/x", "usr/y"} {
		if n, err := tr.Lookup(path); err != nil || n.Inode.Links() != 2 {
			t.Errorf("%s: %v", path, err)
		}
	}
	without := func(e deb.Entry) (bool, error) { return e.Path != "lib/x", nil }
	tr = tree.New(0)
	if err := other.Apply(tr, without); err != nil {
		t.Fatal(err)
	}
	if n, err := tr.Lookup("usr/y"); err != nil || n.Inode.Links() != 1 || n.Inode.Size != 1 {
		t.Errorf("a link whose file is left out: %v", err)
	}
	bad, err := read(s, apttest.Deb{Name: "bad", Files: []apttest.Member{apttest.File("./tmp", "file")}}.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	tr = tree.New(0)
	if err := base.Apply(tr, nil); err != nil {
		t.Fatal(err)
	}
	if err := bad.Apply(tr, nil); err == nil {
		t.Error("a file took a directory's place")
	}
}

func TestHostileDebsAreRefused(t *testing.T) {
	file := func(name string) apttest.Deb {
		return apttest.Deb{Name: "x", Files: []apttest.Member{apttest.File(name, "x")}}
	}
	link := func(name, to string) apttest.Deb {
		return apttest.Deb{Name: "x", Files: []apttest.Member{apttest.File("a", "x"), {Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}}}}
	}
	cases := map[string][]byte{
		"absolute":            file("/etc/passwd").Bytes(),
		"parent":              file("./../x").Bytes(),
		"parent within":       file("./a/../../x").Bytes(),
		"empty element":       file("./a//x").Bytes(),
		"root is a file":      apttest.Deb{Name: "x", Files: []apttest.Member{{Header: tar.Header{Name: ".", Typeflag: tar.TypeReg}}}}.Bytes(),
		"link out":            link("./b", "../etc/shadow").Bytes(),
		"link to nothing":     link("./b", "./c").Bytes(),
		"link to itself":      link("./b", "./b").Bytes(),
		"twice":               link("./a", "./a").Bytes(),
		"empty symlink":       apttest.Deb{Name: "x", Files: []apttest.Member{{Header: tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x", 5000)}}}}.Bytes(),
		"unknown type":        apttest.Deb{Name: "x", Files: []apttest.Member{{Header: tar.Header{Name: "v", Typeflag: 'V', Format: tar.FormatGNU}}}}.Bytes(),
		"bomb":                apttest.Deb{Name: "x", Files: []apttest.Member{apttest.File("zeros", strings.Repeat("\x00", 17<<20))}}.Bytes(),
		"too many":            apttest.Deb{Name: "x", Files: flood(tar.TypeReg)}.Bytes(),
		"device flood":        apttest.Deb{Name: "x", Files: flood(tar.TypeBlock)}.Bytes(),
		"control bomb":        apttest.Deb{Name: "x", Scripts: map[string]string{"postinst": strings.Repeat("\x00", 65<<20)}}.Bytes(),
		"bad version":         apttest.Deb{Name: "x", Version: "v1"}.Bytes(),
		"bad name":            apttest.Deb{Name: "../x"}.Bytes(),
		"unknown compression": apttest.Deb{Name: "x", Compression: ".bz2"}.Bytes(),
		"no data":             apttest.Ar(apttest.ArMember{Name: "debian-binary", Data: []byte("2.0\n")}),
		"format 3":            apttest.Ar(apttest.ArMember{Name: "debian-binary", Data: []byte("3.0\n")}),
		"not a deb":           []byte("hello"),
		"data first":          apttest.Ar(apttest.ArMember{Name: "debian-binary", Data: []byte("2.0\n")}, apttest.ArMember{Name: "data.tar", Data: apttest.Tar(nil)}),
	}
	for name, data := range cases {
		if _, err := read(open(t), data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func flood(kind byte) []apttest.Member {
	var all []apttest.Member
	for i := range 1001 {
		all = append(all, apttest.Member{Header: tar.Header{Name: fmt.Sprintf("./dev/%d", i), Typeflag: kind}})
	}
	return all
}

// A package that was within the limits of an earlier build need not be within
// those of this one.
func TestFits(t *testing.T) {
	p, err := read(open(t), rich("").Bytes())
	if err != nil {
		t.Fatal(err)
	}
	entries, bytes := len(p.Entries), int64(16005)
	for limits, want := range map[source.Limits]bool{
		{Entries: entries, Bytes: bytes}: true, {Entries: entries - 1, Bytes: bytes}: false, {Entries: entries, Bytes: bytes - 1}: false,
	} {
		if p.Fits(limits) != want {
			t.Errorf("%+v: %t", limits, !want)
		}
	}
}

func TestTruncatedDebsAreRefused(t *testing.T) {
	for _, c := range []string{".xz", ".zst", "none"} {
		data := rich(c).Bytes()
		for n := 0; n < len(data)-1024; n += 1 + n/8 {
			if _, err := read(open(t), data[:n]); err == nil {
				t.Errorf("%s: the first %d of %d bytes were accepted", c, n, len(data))
			}
		}
	}
}

func TestDamagedListingsAreRefused(t *testing.T) {
	p, err := read(open(t), rich("").Bytes())
	if err != nil {
		t.Fatal(err)
	}
	data := p.Marshal()
	again, err := deb.Unmarshal(data)
	if err != nil || !reflect.DeepEqual(p, again) {
		t.Fatalf("%v\n%+v\n%+v", err, p, again)
	}
	for i := 0; i < len(data); i += 3 {
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if _, err := deb.Unmarshal(bad); err == nil {
			t.Fatalf("a flipped bit in byte %d went unnoticed", i)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range []string{".xz", ".gz", ".zst", "none"} {
		f.Add(rich(c).Bytes())
	}
	s := open(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := read(s, data)
		if err != nil {
			return
		}
		again, err := deb.Unmarshal(p.Marshal())
		if err != nil || !bytes.Equal(again.Marshal(), p.Marshal()) {
			t.Fatalf("the listing doesn't survive: %v", err)
		}
		if err := p.Apply(tree.New(0), nil); err == nil {
			_ = deb.WriteDatabase(tree.New(0), s, []*deb.Package{p}, 0)
		}
	})
}

// A listing may be damaged and have the right digest all the same.
func FuzzUnmarshal(f *testing.F) {
	p, err := read(open(f), rich("").Bytes())
	if err != nil {
		f.Fatal(err)
	}
	_, lines, _ := bytes.Cut(p.Marshal(), []byte("\n"))
	f.Add(lines)
	f.Fuzz(func(t *testing.T, lines []byte) {
		p, err := deb.Unmarshal(append(fmt.Appendf(nil, "bootsmith-deb %d %x\n", deb.ListingVersion, sha256.Sum256(lines)), lines...))
		if err == nil {
			_ = p.Apply(tree.New(0), nil) // an error, not a panic
		}
	})
}

func BenchmarkRead(b *testing.B) {
	d := rich("")
	d.Files = append(d.Files, apttest.File("./usr/large", strings.Repeat("some text that compresses well\n", 1<<18)))
	data := d.Bytes()
	b.SetBytes(31 << 18)
	for b.Loop() {
		if _, err := read(open(b), data); err != nil {
			b.Fatal(err)
		}
	}
}

// ReadControl tells what Read tells, without the files.
func TestReadControlAlone(t *testing.T) {
	for _, compression := range []string{".xz", ".gz", ".zst", "none"} {
		data := apttest.Deb{
			Name: "app", Compression: compression, Fields: []string{"Depends: lib"}, Scripts: map[string]string{"postinst": "#!/bin/sh\n"},
			Files: []apttest.Member{apttest.File("./usr/bin/app", "x")},
		}.Bytes()
		p, err := deb.ReadControl(t.Context(), bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if p.Field("Package") != "app" || p.Field("Depends") != "lib" || len(p.Files) != 1 || len(p.Entries) != 0 {
			t.Errorf("%s: %+v", compression, p)
		}
	}
	control := apttest.ArMember{Name: "control.tar", Data: apttest.Tar([]apttest.Member{apttest.File("./control", apttest.Deb{Name: "app"}.Control())})}
	version := apttest.ArMember{Name: "debian-binary", Data: []byte("2.0\n")}
	for name, members := range map[string][]apttest.ArMember{
		"no control":    {version},
		"data first":    {version, {Name: "data.tar"}, control},
		"other version": {{Name: "debian-binary", Data: []byte("3.0\n")}, control},
		"empty control": {version, {Name: "control.tar", Data: apttest.Tar(nil)}},
	} {
		if _, err := deb.ReadControl(t.Context(), bytes.NewReader(apttest.Ar(members...))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := deb.ReadControl(t.Context(), bytes.NewReader(apttest.Ar(version, apttest.ArMember{Name: "_future"}, control))); err != nil {
		t.Errorf("a member that is to be ignored: %v", err)
	}
}
