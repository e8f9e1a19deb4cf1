package kernel

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
)

// contents is an object store in memory. It counts what is opened.
type contents struct {
	data   map[tree.Digest][]byte
	opened map[tree.Digest]int
}

func newContents() *contents {
	return &contents{data: map[tree.Digest][]byte{}, opened: map[tree.Digest]int{}}
}

func (c *contents) Open(content tree.Content) (io.ReadCloser, error) {
	data, ok := c.data[content.SHA256]
	if !ok {
		return nil, fmt.Errorf("opening object %x: missing", content.SHA256)
	}
	c.opened[content.SHA256]++
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (c *contents) put(t testing.TB, to *tree.Tree, name string, data []byte) {
	t.Helper()
	sum := tree.Digest(sha256.Sum256(data))
	c.data[sum] = data
	err := to.Put(name, &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: int64(len(data)), Content: tree.Content{SHA256: sum}})
	if err != nil {
		t.Fatal(err)
	}
}

const version = "6.12.0-test"

// fakeModule returns an ELF object with a .modinfo section of these entries,
// 64-bit, little-endian (gABI, chapter 4).
func fakeModule(t testing.TB, entries ...string) []byte {
	t.Helper()
	modinfo := strings.Join(entries, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	dataAt := uint64(64)
	namesAt := dataAt + uint64(len(modinfo))
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: namesAt + uint64(len(names)), Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	}
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC), Off: dataAt, Size: uint64(len(modinfo))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))},
	}
	var b bytes.Buffer
	for _, part := range []any{header, []byte(modinfo), []byte(names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func packXZ(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	return packed(t, &b, w, data)
}

func packZstd(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	return packed(t, &b, w, data)
}

func packed(t testing.TB, b *bytes.Buffer, w io.WriteCloser, data []byte) []byte {
	t.Helper()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var _ Opener = (*store.Store)(nil)
