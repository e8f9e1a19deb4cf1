package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/powernode/bootsmith/builder/source/unxz"
)

const (
	// maxModule bounds a decompressed module, in bytes. The largest of a
	// distribution are graphics drivers with some 30 MB.
	maxModule = 128 << 20
	// maxModinfo bounds the section, in bytes. It holds aliases of every device,
	// at most some 100 KB.
	maxModinfo = 4 << 20
	// maxWindow is what a zstd frame may ask for, in bytes; the kernel refuses
	// more, too.
	maxWindow = 128 << 20
)

// modinfo holds the values of a module's .modinfo section by key; a key may have
// several values.
type modinfo map[string][]string

// depends returns the canonical names of the modules that must be loaded before.
func (m modinfo) depends() []string {
	var names []string
	for _, value := range m["depends"] {
		for name := range strings.SplitSeq(value, ",") {
			if name != "" {
				names = append(names, canonical(name))
			}
		}
	}
	return names
}

// softdeps returns what should be loaded before, when there is such a thing:
// "pre: a b post: c" (modprobe.d(5)).
func (m modinfo) softdeps() []string {
	var names []string
	for _, value := range m["softdep"] {
		pre := false
		for word := range strings.FieldsSeq(value) {
			switch {
			case word == "pre:":
				pre = true
			case word == "post:":
				pre = false
			case pre:
				names = append(names, canonical(word))
			}
		}
	}
	return names
}

// kernelVersion returns the release that the module was built for, the first
// word of vermagic, or "".
func (m modinfo) kernelVersion() string {
	for _, value := range m["vermagic"] {
		version, _, _ := strings.Cut(value, " ")
		return version
	}
	return ""
}

// readModule returns a module's modinfo.
func readModule(contents Opener, file *fileNode) (modinfo, error) {
	r, err := contents.Open(file.inode.Content)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var d Decompressor
	data, err := d.Decompress(r, path.Ext(file.path))
	if err != nil {
		return nil, err
	}
	return parseModule(data)
}

// Decompressor decompresses modules, one after the other in the same memory. The
// zero value is ready to use. It is not safe for concurrent use.
type Decompressor struct {
	xz  unxz.Decoder
	buf []byte
}

// Decompress reads a whole module, whose name ends in ext, of at most 128 MiB
// decompressed: the table of its sections comes last. The next call overwrites
// the result.
func (d *Decompressor) Decompress(r io.Reader, ext string) ([]byte, error) {
	switch ext {
	case ".xz":
		data, err := d.xz.Append(d.buf[:0], r, maxModule)
		if err != nil {
			return nil, fmt.Errorf("decompressing: %w", err)
		}
		d.buf = data
		return data, nil
	case ".gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("decompressing: %w", err)
		}
		r = z
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("decompressing: %w", err)
		}
		defer z.Close()
		r = z
	}
	b := bytes.NewBuffer(d.buf[:0])
	if _, err := b.ReadFrom(io.LimitReader(r, maxModule+1)); err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	if b.Len() > maxModule {
		return nil, fmt.Errorf("decompressing: the module is larger than %d bytes", maxModule)
	}
	d.buf = b.Bytes()
	return d.buf, nil
}

// Info returns the values of a decompressed module's .modinfo section by key; a
// key may have several values.
func Info(module []byte) (map[string][]string, error) { return parseModule(module) }

var errNoModinfo = errors.New("there is no .modinfo section")

// parseModule returns the modinfo of an ELF file.
func parseModule(data []byte) (modinfo, error) {
	r := bytes.NewReader(data)
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("parsing ELF: %w", err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errNoModinfo
	}
	// A compressed section could unfold to any size; the kernel doesn't take
	// one, either.
	if s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, fmt.Errorf("section .modinfo: type %v with flags %v is not supported", s.Type, s.Flags)
	}
	if s.FileSize > maxModinfo || s.Offset > uint64(len(data)) || s.FileSize > uint64(len(data))-s.Offset {
		return nil, fmt.Errorf("section .modinfo: %d bytes at %d don't fit", s.FileSize, s.Offset)
	}
	return parseModinfo(data[s.Offset : s.Offset+s.FileSize]), nil
}

// parseModinfo splits "key=value" strings, each ended by one or more NUL bytes
// (include/linux/moduleparam.h).
func parseModinfo(section []byte) modinfo {
	info := modinfo{}
	for entry := range bytes.SplitSeq(section, []byte{0}) {
		if key, value, ok := strings.Cut(string(entry), "="); ok {
			info[key] = append(info[key], value)
		}
	}
	return info
}
