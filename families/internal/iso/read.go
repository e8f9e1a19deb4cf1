package iso

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// Image is a volume that is being read. Whatever is in it, reading ends and
// takes bounded memory; neither Go library that reads ISO 9660 can promise that
// (both trust sizes, and one follows Rock Ridge's continuations for ever).
type Image struct {
	// VolumeID is the volume identifier without the spaces at its end.
	VolumeID string
	// Size is the volume's size in bytes.
	Size int64
	// Joliet tells whether names come from Joliet's tree.
	Joliet bool

	r       io.ReaderAt
	root    section
	catalog uint32 // sector of the boot catalog, 0 when there is none
	left    int64  // bytes of directories that may still be read
}

// File is a file or a directory that was read.
type File struct {
	Path     string // slash-separated
	Size     int64  // bytes; 0 for a directory
	IsDir    bool
	sections []section
}

// Bounds of what is read.
const (
	maxDescriptors = 64
	maxDirectory   = 4 << 20  // bytes of one directory
	maxAllDirs     = 16 << 20 // bytes of all of them, each time they are read
	maxReadDepth   = 32
)

// ErrFormat is returned for a medium without an ISO 9660 volume.
var ErrFormat = errors.New("it has no ISO 9660 volume")

// OpenImage reads the volume descriptors of a medium of size bytes. Names come
// from Joliet's tree when there is one, else from the first, where they are
// without version and in upper case: Rock Ridge is not read. It is safe for one
// goroutine at a time.
func OpenImage(r io.ReaderAt, size int64) (*Image, error) {
	v := &Image{r: r}
	if err := v.readDescriptors(size); err != nil {
		return nil, fmt.Errorf("reading an ISO 9660 volume: %w", err)
	}
	return v, nil
}

// readDescriptors reads the fields that descriptor in this package lists.
func (v *Image) readDescriptors(size int64) error {
	b := make([]byte, SectorSize)
	le := binary.LittleEndian
	for i := range int64(maxDescriptors) {
		if n, err := v.r.ReadAt(b, (primarySector+i)*SectorSize); n < len(b) {
			if i == 0 && (err == nil || err == io.EOF) {
				err = ErrFormat
			}
			return err
		}
		if string(b[1:6]) != standardID {
			return ErrFormat
		}
		switch b[0] {
		case typePrimary:
			if le.Uint16(b[128:]) != SectorSize {
				return fmt.Errorf("blocks of %d bytes are not known", le.Uint16(b[128:]))
			}
			v.VolumeID = strings.TrimRight(string(b[40:72]), " \x00")
			v.Size = int64(le.Uint32(b[80:])) * SectorSize
			if !v.Joliet {
				v.root = sectionOf(b[156:])
			}
		case typeSupplementary:
			if e := string(b[88:91]); e == "%/@" || e == "%/C" || e == "%/E" {
				v.Joliet, v.root = true, sectionOf(b[156:])
			}
		case typeBootRecord:
			if string(b[7:30]) == "EL TORITO SPECIFICATION" {
				v.catalog = le.Uint32(b[71:])
			}
		case typeTerminator:
			if v.root.size == 0 {
				return ErrFormat
			}
			if v.Size > size {
				return fmt.Errorf("the volume has %d bytes, more than the %d of the medium", v.Size, size)
			}
			return nil
		}
	}
	return fmt.Errorf("more than %d volume descriptors", maxDescriptors)
}

// sectionOf returns where a directory record's extent is (ECMA-119, 9.1).
func sectionOf(record []byte) section {
	return section{int64(binary.LittleEndian.Uint32(record[2:])), int64(binary.LittleEndian.Uint32(record[10:]))}
}

// Files returns all files and directories, each directory before what it holds,
// in the order in which they are recorded.
func (v *Image) Files() ([]File, error) {
	v.left = maxAllDirs
	var all []File
	if err := v.walk(v.root, "", 0, &all); err != nil {
		return nil, fmt.Errorf("reading an ISO 9660 volume: %w", err)
	}
	return all, nil
}

func (v *Image) walk(dir section, path string, depth int, all *[]File) error {
	if depth > maxReadDepth {
		return fmt.Errorf("directory %q: more than %d levels", path, maxReadDepth)
	}
	files, err := v.readDir(dir)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	for _, f := range files {
		f.Path = path + f.Path
		*all = append(*all, f)
		if f.IsDir {
			if err := v.walk(f.sections[0], f.Path+"/", depth+1, all); err != nil {
				return err
			}
		}
	}
	return nil
}

// OpenFile opens a file by its path, without regard to case. A missing file is
// an error that matches fs.ErrNotExist.
func (v *Image) OpenFile(path string) (*io.SectionReader, error) {
	v.left = maxAllDirs
	dir := v.root
	names := strings.Split(path, "/")
	for i, name := range names {
		files, err := v.readDir(dir)
		if err != nil {
			return nil, fmt.Errorf("opening %q: %w", path, err)
		}
		f, ok := find(files, name)
		if !ok || f.IsDir == (i == len(names)-1) {
			break
		}
		if !f.IsDir {
			return io.NewSectionReader(sectionReader{v.r, f.sections}, 0, f.Size), nil
		}
		dir = f.sections[0]
	}
	return nil, fmt.Errorf("opening %q: %w", path, fs.ErrNotExist)
}

func find(files []File, name string) (File, bool) {
	for _, f := range files {
		if strings.EqualFold(f.Path, name) {
			return f, true
		}
	}
	return File{}, false
}

// readDir returns a directory's entries by their names alone.
func (v *Image) readDir(dir section) ([]File, error) {
	if v.left -= dir.size; dir.size > maxDirectory || v.left < 0 {
		return nil, fmt.Errorf("%d bytes are too many for a directory", dir.size)
	}
	var files []File
	more := false // the last file goes on
	b := make([]byte, SectorSize)
	for at := int64(0); at < dir.size; at += SectorSize {
		if n, err := v.r.ReadAt(b, dir.start*SectorSize+at); n < len(b) {
			return nil, fmt.Errorf("reading a sector: %w", err)
		}
		for rest := b; len(rest) > 0 && rest[0] != 0; rest = rest[rest[0]:] {
			if err := checkRecord(rest); err != nil {
				return nil, err
			}
			record := rest[:rest[0]]
			f := v.parseRecord(record)
			switch {
			case f.Path == "":
			case more:
				last := &files[len(files)-1]
				last.sections = append(last.sections, f.sections...)
				last.Size += f.Size
			default:
				files = append(files, f)
			}
			more = record[25]&flagMore != 0 && f.Path != ""
		}
	}
	return files, nil
}

// checkRecord checks the lengths in a directory record.
func checkRecord(b []byte) error {
	if int(b[0]) > len(b) || b[0] < 34 || 33+int(b[32]) > int(b[0]) {
		return fmt.Errorf("a directory record of %d bytes is damaged", b[0])
	}
	return nil
}

// parseRecord reads a directory record; Path is "" for "." and "..", and for
// names that no path may have.
func (v *Image) parseRecord(b []byte) File {
	f := File{Path: v.name(b[33 : 33+int(b[32])]), IsDir: b[25]&flagDirectory != 0, sections: []section{sectionOf(b)}}
	if !f.IsDir {
		f.Size = f.sections[0].size
	}
	return f
}

func (v *Image) name(id []byte) string {
	if len(id) == 1 && id[0] <= 1 {
		return ""
	}
	name := string(id)
	if v.Joliet {
		var units []uint16
		for ; len(id) >= 2; id = id[2:] {
			units = append(units, binary.BigEndian.Uint16(id))
		}
		name = string(utf16.Decode(units))
	}
	name = strings.TrimSuffix(strings.ToValidUTF8(name, "\ufffd"), ";1")
	if !v.Joliet {
		name = strings.TrimSuffix(name, ".")
	}
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return ""
	}
	return name
}

// sectionReader reads a file that lies in sections; all but the last fill whole
// sectors.
type sectionReader struct {
	r        io.ReaderAt
	sections []section
}

// ReadAt implements io.ReaderAt.
func (s sectionReader) ReadAt(p []byte, off int64) (n int, err error) {
	for _, part := range s.sections {
		if off >= part.size {
			off -= part.size
			continue
		}
		k := int(min(int64(len(p)-n), part.size-off))
		m, err := s.r.ReadAt(p[n:n+k], part.start*SectorSize+off)
		n += m
		if m < k {
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		off = 0
	}
	return n, io.EOF
}
