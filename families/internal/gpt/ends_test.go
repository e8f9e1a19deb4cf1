package gpt

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// What is between the two tables belongs to the partitions: it can be neither
// written nor read here.
func TestEnds(t *testing.T) {
	const size = 1 << 20
	e := newEnds(size)
	tail := int64(size - TailSectors*SectorSize)
	for _, at := range []int64{0, FirstUsable*SectorSize - 4, tail, size - 4} {
		data := []byte{byte(at), 2, 3, byte(at >> 8)}
		got := make([]byte, len(data))
		if n, err := e.WriteAt(data, at); n != len(data) || err != nil {
			t.Errorf("writing at %d: %d, %v", at, n, err)
		}
		if n, err := e.ReadAt(got, at); n != len(data) || err != nil || !bytes.Equal(got, data) {
			t.Errorf("reading at %d: %x, %d, %v", at, got, n, err)
		}
	}
	for _, at := range []int64{-1, FirstUsable*SectorSize - 3, FirstUsable * SectorSize, tail - 1, size - 3, size} {
		if n, err := e.WriteAt(make([]byte, 4), at); n != 0 || err == nil {
			t.Errorf("writing at %d: %d, %v", at, n, err)
		}
		if n, err := e.ReadAt(make([]byte, 4), at); n != 0 || err == nil {
			t.Errorf("reading at %d: %d, %v", at, n, err)
		}
	}
}

// A version of go-diskfs that wants more of a file fails; it doesn't get zeros.
func TestOffsetsOnly(t *testing.T) {
	f := readOnly{ReaderAt: bytes.NewReader([]byte("x"))}
	_, read := f.Read(make([]byte, 1))
	_, seek := f.Seek(0, io.SeekStart)
	_, stat := f.Stat()
	for _, err := range []error{read, seek, stat} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
