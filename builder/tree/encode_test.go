package tree

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
)

// sampleTree has every kind of inode, and names that are anything but text.
func sampleTree(t testing.TB) *Tree {
	tr := New(7)
	put(t, tr, "usr/bin/a", file(1<<40))
	put(t, tr, "usr/bin/\xff\n", &Inode{Mode: TypeRegular | 0o4755, UID: 1<<32 - 2, Mtime: -5, MtimeNsec: 999_999_999, Size: 3,
		Content: Content{SHA256: Digest{1}, Verity: Digest{2}, Inline: []byte("abc")}, Xattrs: map[string]string{"user.b": "\x00", "user.a": ""}})
	put(t, tr, "empty", &Inode{Mode: TypeRegular, Content: Content{Inline: []byte{}}})
	put(t, tr, "link", link("../x"))
	put(t, tr, "dev/null", &Inode{Mode: TypeChar | 0o666, Major: 1, Minor: 3})
	put(t, tr, "dev/sda", &Inode{Mode: TypeBlock, Major: 8})
	put(t, tr, "run/fifo", &Inode{Mode: TypeFifo})
	put(t, tr, "run/socket", &Inode{Mode: TypeSocket})
	for _, l := range []string{"first", "usr/second"} {
		if err := tr.Link("usr/bin/a", l); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func TestEncodeAndDecode(t *testing.T) {
	for name, tr := range map[string]*Tree{"empty": New(-1), "sample": sampleTree(t)} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode(tr.Encode())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tr) {
				t.Errorf("got another tree:\n%v\n%v", describe(got), describe(tr))
			}
			if !bytes.Equal(got.Encode(), tr.Encode()) {
				t.Error("the decoded tree has another form")
			}
			checkLinks(t, got)
		})
	}
}

func describe(tr *Tree) (names []string) {
	_ = tr.Walk(func(path string, n *Node) error {
		names = append(names, fmt.Sprintf("%q %+v", path, *n.Inode))
		return nil
	})
	return names
}

// A decoded tree can be changed like any other.
func TestDecodedTreeTakesFiles(t *testing.T) {
	tr, err := Decode(sampleTree(t).Encode())
	if err != nil {
		t.Fatal(err)
	}
	put(t, tr, "usr/bin/a", file(9))
	if err := tr.Remove("dev"); err != nil {
		t.Fatal(err)
	}
	checkLinks(t, tr)
}

func TestDecodeRefusesEveryCut(t *testing.T) {
	data := sampleTree(t).Encode()
	for n := range data {
		if _, err := Decode(data[:n]); err == nil {
			t.Errorf("the first %d bytes were decoded", n)
		}
	}
	if _, err := Decode(append(data, 0)); err == nil {
		t.Error("a byte too many was accepted")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sampleTree(f).Encode())
	f.Add(New(0).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, err := Decode(data)
		if err != nil {
			return
		}
		checkLinks(t, tr)
		again, err := Decode(tr.Encode())
		if err != nil || !reflect.DeepEqual(again, tr) {
			t.Errorf("a decoded tree doesn't survive: %v", err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	tr := New(0)
	for n := range 20_000 {
		put(b, tr, fmt.Sprintf("usr/share/%d/file%d", n%200, n), file(100))
	}
	data := tr.Encode()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
