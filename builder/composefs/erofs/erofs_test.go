package erofs

import (
	"bytes"
	"errors"
	"testing"
	"testing/iotest"
)

var super = Superblock{
	FeatureCompat: CompatMtime, FeatureIncompat: 4, RootNID: 36, Inodes: 1 << 33, BuildTime: -5, BuildTimeNsec: 7,
	Blocks: 1<<32 - 1, MetaBlock: 9, XattrBlock: 10, UUID: [16]byte{1, 15: 16},
}

func TestSuperblockRoundTrip(t *testing.T) {
	b := super.Bytes()
	image := append(make([]byte, SuperblockOffset), b[:]...)
	got, err := ReadSuperblock(bytes.NewReader(image))
	if err != nil || got != super {
		t.Errorf("got %+v, %v", got, err)
	}
	if got.Size() != (1<<32-1)*4096 {
		t.Errorf("size %d", got.Size())
	}
}

func TestNoSuperblock(t *testing.T) {
	for _, n := range []int{0, SuperblockOffset, SuperblockOffset + SuperblockSize - 1, 1 << 20} {
		if _, err := ReadSuperblock(bytes.NewReader(make([]byte, n))); !errors.Is(err, ErrNoSuperblock) {
			t.Errorf("%d zero bytes: %v", n, err)
		}
	}
	b := super.Bytes()
	b[12] = 9
	if _, err := ParseSuperblock(b[:]); err == nil || errors.Is(err, ErrNoSuperblock) {
		t.Errorf("blocks of 512 bytes: %v", err)
	}
}

// brokenAt is an io.ReaderAt that fails.
type brokenAt struct{ err error }

func (b brokenAt) ReadAt([]byte, int64) (int, error) { return 0, b.err }

func TestReadSuperblockFails(t *testing.T) {
	if _, err := ReadSuperblock(brokenAt{iotest.ErrTimeout}); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseSuperblock(f *testing.F) {
	b := super.Bytes()
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSuperblock(b)
		if err != nil {
			return
		}
		again := s.Bytes()
		if got, err := ParseSuperblock(again[:]); err != nil || got != s {
			t.Errorf("%+v became %+v, %v", s, got, err)
		}
	})
}

func TestInodeLength(t *testing.T) {
	for _, i := range []Inode{{Compact: true}, {}} {
		if n := len(i.Append(nil)); n != i.Len() {
			t.Errorf("%d bytes, want %d", n, i.Len())
		}
	}
}

func TestFileTypes(t *testing.T) {
	want := map[uint32]byte{0o100644: 1, 0o040755: 2, 0o020600: 3, 0o060600: 4, 0o010600: 5, 0o140600: 6, 0o120777: 7, 0o644: 0, 0o170000: 0}
	for mode, typ := range want {
		if got := FileType(mode); got != typ {
			t.Errorf("mode %o: got %d, want %d", mode, got, typ)
		}
	}
}

func TestDirent(t *testing.T) {
	got := AppendDirent([]byte{9}, 0x0102030405060708, 0x0a0b, 7)
	want := []byte{9, 8, 7, 6, 5, 4, 3, 2, 1, 0x0b, 0x0a, 7, 0}
	if !bytes.Equal(got, want) || len(want) != 1+DirentSize {
		t.Errorf("got %x", got)
	}
}
