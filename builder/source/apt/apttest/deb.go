// Package apttest makes signed package archives in memory for tests.
package apttest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Epoch is the modification time of everything that is made here.
func Epoch() time.Time { return time.Unix(1_700_000_000, 0).UTC() }

// Deb is a package to be.
type Deb struct {
	Name, Version, Arch string // the latter two default to "1.0" and "amd64"
	// Fields are further lines of the control file: "Depends: x".
	Fields []string
	// Scripts are further members of the control archive, by name.
	Scripts map[string]string
	// Files are the data archive's members. A directory's name ends in "/".
	Files []Member
	// Compression is ".xz" (the default), ".gz", ".zst" or "none".
	Compression string
}

// Member is a member of a tar archive; Header's zero fields get defaults.
type Member struct {
	Header tar.Header
	Data   string
}

// File returns a regular file's member.
func File(name, data string) Member { return Member{Header: tar.Header{Name: name}, Data: data} }

// Bootable returns what a root must have to boot: the directories to mount on, and
// an init.
func Bootable() []Member {
	members := []Member{{Header: tar.Header{Name: "sbin/"}}, {Header: tar.Header{Name: "sbin/init", Mode: 0o755}, Data: "init"}}
	for _, name := range []string{"dev/", "proc/", "run/", "sys/"} {
		members = append(members, Member{Header: tar.Header{Name: name}})
	}
	return members
}

// Control returns the package's control stanza.
func (d Deb) Control() string {
	d = d.defaults()
	s := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Test <test@example.org>\n", d.Name, d.Version, d.Arch)
	for _, f := range d.Fields {
		s += f + "\n"
	}
	return s + "Description: a test\n more of it\n"
}

func (d Deb) defaults() Deb {
	if d.Version == "" {
		d.Version = "1.0"
	}
	if d.Arch == "" {
		d.Arch = "amd64"
	}
	switch d.Compression {
	case "":
		d.Compression = ".xz"
	case "none":
		d.Compression = ""
	}
	return d
}

// Bytes returns the .deb file.
func (d Deb) Bytes() []byte {
	d = d.defaults()
	control := []Member{File("./control", d.Control())}
	for _, name := range []string{"conffiles", "md5sums", "preinst", "postinst", "prerm", "postrm", "triggers"} {
		if data, ok := d.Scripts[name]; ok {
			control = append(control, File("./"+name, data))
		}
	}
	return Ar(
		ArMember{"debian-binary", []byte("2.0\n")},
		ArMember{"control.tar" + d.Compression, compress(d.Compression, Tar(control))},
		ArMember{"data.tar" + d.Compression, compress(d.Compression, Tar(d.Files))},
	)
}

// ArMember is a member of an ar archive.
type ArMember struct {
	Name string
	Data []byte
}

// Ar returns an ar archive.
func Ar(members ...ArMember) []byte {
	b := bytes.NewBufferString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.Name, Epoch().Unix(), 0, 0, "100644", len(m.Data))
		b.Write(m.Data)
		if len(m.Data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// Tar returns a tar archive. It panics on headers that can't be written.
func Tar(members []Member) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := m.Header
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			if strings.HasSuffix(h.Name, "/") {
				h.Typeflag = tar.TypeDir
			}
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if h.ModTime.IsZero() {
			h.ModTime = Epoch()
		}
		h.Size = int64(len(m.Data))
		must(w.WriteHeader(&h))
		_, err := io.WriteString(w, m.Data)
		must(err)
	}
	must(w.Close())
	return b.Bytes()
}

// compress packs data by the extension of a file's name.
func compress(ext string, data []byte) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch ext {
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	default:
		return data
	}
	must(err)
	_, err = w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
