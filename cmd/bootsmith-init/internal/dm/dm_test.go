//go:build linux

package dm

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's structures, as golang.org/x/sys generated them from the headers.
func TestRequestLayout(t *testing.T) {
	target := Target{Sectors: 1 << 40, Type: "verity", Params: "1 254:2 254:2"}
	b, err := request("root", unix.DM_READONLY_FLAG, &target)
	if err != nil {
		t.Fatal(err)
	}
	h := (*unix.DmIoctl)(unsafe.Pointer(&b[0]))
	if h.Version != [3]uint32{4, 0, 0} || int(h.Data_size) != len(b) || h.Data_start != unix.SizeofDmIoctl ||
		h.Target_count != 1 || h.Flags != unix.DM_READONLY_FLAG || unix.ByteSliceToString(h.Name[:]) != "root" {
		t.Errorf("got %+v", h)
	}
	s := (*unix.DmTargetSpec)(unsafe.Pointer(&b[h.Data_start]))
	if s.Sector_start != 0 || s.Length != target.Sectors || s.Next != 0 || unix.ByteSliceToString(s.Target_type[:]) != "verity" {
		t.Errorf("got %+v", s)
	}
	if got := unix.ByteSliceToString(b[h.Data_start+unix.SizeofDmTargetSpec:]); got != target.Params {
		t.Errorf("got %q", got)
	}
}

func TestRequestTooLong(t *testing.T) {
	for name, target := range map[string]*Target{
		"":                       nil,
		strings.Repeat("n", 128): nil,
		"type":                   {Type: strings.Repeat("t", 16)},
		"params":                 {Params: strings.Repeat("p", bufferSize)},
	} {
		if _, err := request(name, 0, target); err == nil {
			t.Errorf("%.10q was taken", name)
		}
	}
}

func TestMinor(t *testing.T) {
	for want, dev := range map[uint32]uint64{0: 254 << 8, 7: 254<<8 | 7, 300: 254<<8 | 1<<20 | 44} {
		b := make([]byte, headerSize)
		binary.LittleEndian.PutUint64(b[offDev:], dev)
		if got := minor(b); got != want {
			t.Errorf("device %#x: got %d, want %d", dev, got, want)
		}
	}
}

func TestStatus(t *testing.T) {
	b, err := request("root", 0, &Target{Type: "verity", Params: "C"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := status(b); err != nil || got != "C" {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzStatus(f *testing.F) {
	b, _ := request("root", 0, &Target{Type: "verity", Params: "V"})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, err := status(b); err == nil && !bytes.Contains(b, []byte(text)) {
			t.Errorf("got %q", text)
		}
	})
}
