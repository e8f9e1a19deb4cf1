package dmverity

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

var testUUID = [16]byte{0xde, 0xad, 0xbe, 0xef, 1, 2, 0x43, 4, 0x85, 6, 7, 8, 9, 10, 11, 12}

func uuidText(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func sample(blocks int64) []byte {
	b := make([]byte, blocks*BlockSize)
	rand.NewChaCha8([32]byte{byte(blocks)}).Read(b)
	return b
}

func newTree(t testing.TB, p Params, data []byte) *Tree {
	t.Helper()
	h, err := NewHasher(p)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := h.Write(data); n != len(data) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
	tree, err := h.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// device writes data and its hash area to a file and returns its name.
func device(t *testing.T, tree *Tree, data []byte) string {
	t.Helper()
	var area bytes.Buffer
	if n, err := tree.WriteTo(&area); err != nil || n != tree.Size() || area.Len() != int(n) {
		t.Fatalf("WriteTo: %d of %d bytes, %v", n, tree.Size(), err)
	}
	return writeFile(t, append(bytes.Clone(data), area.Bytes()...))
}

func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func veritysetup(t *testing.T, args ...string) (string, error) {
	t.Helper()
	tool, err := exec.LookPath("veritysetup")
	if err != nil {
		tool = "/usr/sbin/veritysetup" // not in every user's PATH
	}
	if _, err := os.Stat(tool); err != nil {
		t.Fatal("the program veritysetup is missing; install the Debian package cryptsetup-bin")
	}
	out, err := exec.Command(tool, args...).CombinedOutput()
	return string(out), err
}

func TestEqualsVeritysetup(t *testing.T) {
	for _, blocks := range []int64{1, 2, 3, 127, 128, 129, 1000, 128 * 128, 128*128 + 1} {
		for _, salt := range []string{"-", "00", strings.Repeat("a5", 32), strings.Repeat("7e", 256)} {
			if blocks > 1000 && salt != "-" {
				continue
			}
			t.Run(fmt.Sprintf("%d/%d", blocks, len(salt)/2), func(t *testing.T) {
				data := sample(blocks)
				p := Params{UUID: testUUID, DataBlocks: blocks}
				if salt != "-" {
					p.Salt, _ = hex.DecodeString(salt)
				}
				tree := newTree(t, p, data)
				ours := device(t, tree, data)

				theirs := writeFile(t, data)
				offset := fmt.Sprintf("--hash-offset=%d", blocks*BlockSize)
				out, err := veritysetup(t, "format", "--salt="+salt, "--uuid="+uuidText(testUUID), offset,
					fmt.Sprintf("--data-blocks=%d", blocks), theirs, theirs)
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				root := fmt.Sprintf("%x", tree.RootHash())
				if !strings.Contains(out, root) {
					t.Errorf("veritysetup says:\n%s\nwe say %s", out, root)
				}
				got, _ := os.ReadFile(ours)
				want, _ := os.ReadFile(theirs)
				// veritysetup leaves the rest of the superblock's block unwritten
				// when no tree follows.
				if len(want) < len(got) {
					want = append(want, make([]byte, len(got)-len(want))...)
				}
				if !bytes.Equal(got, want) {
					t.Error("the hash areas differ")
				}
				if out, err := veritysetup(t, "verify", ours, ours, root, offset); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
}

func TestWriteSizesDoNotMatter(t *testing.T) {
	data := sample(200)
	p := Params{DataBlocks: 200}
	want := newTree(t, p, data).RootHash()
	for _, step := range []int{1000, 4095, 4097, 70_000} {
		h, _ := NewHasher(p)
		for rest := data; len(rest) > 0; {
			n := min(step, len(rest))
			if _, err := h.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		tree, err := h.Tree()
		if err != nil || tree.RootHash() != want {
			t.Errorf("writes of %d bytes: %v", step, err)
		}
	}
}

func TestWrongAmountOfData(t *testing.T) {
	h, _ := NewHasher(Params{DataBlocks: 2})
	if _, err := h.Write(sample(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Write(make([]byte, BlockSize+1)); err == nil {
		t.Error("too much data was taken")
	}
	if _, err := h.Write(make([]byte, BlockSize-1)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Tree(); err == nil {
		t.Error("too little data was taken")
	}
}

func TestBadParams(t *testing.T) {
	for _, p := range []Params{{}, {DataBlocks: -1}, {DataBlocks: maxDataBlocks + 1}, {DataBlocks: 1, Salt: make([]byte, 257)}} {
		if _, err := NewHasher(p); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}

func TestHashBlocks(t *testing.T) {
	for blocks, want := range map[int64]int64{1: 1, 2: 2, 128: 2, 129: 4, 128 * 128: 130, 128*128 + 1: 133} {
		if got := HashBlocks(blocks); got != want {
			t.Errorf("%d data blocks: %d hash blocks, want %d", blocks, got, want)
		}
	}
}

func TestTarget(t *testing.T) {
	p := Params{DataBlocks: 77}
	want := "1 /dev/vda2 /dev/vda2 4096 4096 77 78 sha256 " + strings.Repeat("00", 32) + " -"
	if got := p.Target("/dev/vda2", [32]byte{}); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.Salt = []byte{0xab, 1}
	if got := p.Target("8:1", [32]byte{}); !strings.HasSuffix(got, " ab01") {
		t.Errorf("got %q", got)
	}
}

func TestSuperblockRoundTrip(t *testing.T) {
	p := Params{Salt: []byte{1, 2, 3}, UUID: testUUID, DataBlocks: 12345}
	super := p.Superblock()
	device := append(make([]byte, 3*BlockSize), super[:]...)
	got, err := ReadSuperblock(bytes.NewReader(device), 3)
	if err != nil || got.DataBlocks != p.DataBlocks || got.UUID != p.UUID || !bytes.Equal(got.Salt, p.Salt) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ReadSuperblock(bytes.NewReader(device), 2); !errors.Is(err, ErrNoSuperblock) {
		t.Errorf("in an empty block: %v", err)
	}
	if _, err := ReadSuperblock(bytes.NewReader(device), 4); !errors.Is(err, ErrNoSuperblock) {
		t.Errorf("beyond the end: %v", err)
	}
}

func TestParseSuperblockOfOtherKinds(t *testing.T) {
	for name, at := range map[string]int{"version": 8, "hash type": 12, "algorithm": 33, "data blocks": 64,
		"hash blocks": 68, "number of blocks": 79, "salt size": 81} {
		super := Params{DataBlocks: 1}.Superblock()
		super[at] = 'x'
		if _, err := ParseSuperblock(super[:]); err == nil || errors.Is(err, ErrNoSuperblock) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := ParseSuperblock(make([]byte, 511)); !errors.Is(err, ErrNoSuperblock) {
		t.Errorf("too short: %v", err)
	}
}

func FuzzParseSuperblock(f *testing.F) {
	super := Params{Salt: []byte{9}, UUID: testUUID, DataBlocks: 5}.Superblock()
	f.Add(super[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseSuperblock(b)
		if err != nil {
			return
		}
		super := p.Superblock()
		if again, err := ParseSuperblock(super[:]); err != nil || again.DataBlocks != p.DataBlocks || !bytes.Equal(again.Salt, p.Salt) {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

func TestVerify(t *testing.T) {
	data := sample(300)
	tree := newTree(t, Params{UUID: testUUID, DataBlocks: 300}, data)
	dev, _ := os.ReadFile(device(t, tree, data))
	ctx := context.Background()
	p, err := Verify(ctx, bytes.NewReader(dev), 300, tree.RootHash(), nil)
	if err != nil || p.UUID != testUUID || p.DataBlocks != 300 {
		t.Fatalf("got %+v, %v", p, err)
	}
	for _, at := range []int{0, len(data) - 1, len(data) + 72, len(data) + BlockSize, len(dev) - 1} {
		dev[at] ^= 1
		if _, err := Verify(ctx, bytes.NewReader(dev), 300, tree.RootHash(), nil); !errors.Is(err, ErrMismatch) {
			t.Errorf("byte %d changed: %v", at, err)
		}
		dev[at] ^= 1
	}
	for _, at := range []int{0, 10, len(data), len(data) + 10, len(dev) - 1} {
		if _, err := Verify(ctx, bytes.NewReader(dev[:at]), 300, tree.RootHash(), nil); err == nil {
			t.Errorf("cut at %d: no error", at)
		}
	}
	dev[len(data)] = 'x'
	if _, err := Verify(ctx, bytes.NewReader(dev), 300, tree.RootHash(), nil); !errors.Is(err, ErrNoSuperblock) {
		t.Errorf("without a superblock: %v", err)
	}
	if _, err := Verify(ctx, bytes.NewReader(dev), 0, tree.RootHash(), nil); err == nil {
		t.Error("0 blocks were taken")
	}
	broken := errors.New("broken")
	if _, err := Verify(ctx, iotest.ErrReader(broken), 300, tree.RootHash(), nil); !errors.Is(err, broken) {
		t.Errorf("unreadable: %v", err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Verify(done, bytes.NewReader(dev), 300, tree.RootHash(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// limited fails after n bytes.
type limited struct{ n int }

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.n {
		return l.n, io.ErrShortWrite
	}
	l.n -= len(p)
	return len(p), nil
}

func TestWriteToFails(t *testing.T) {
	tree := newTree(t, Params{DataBlocks: 300}, sample(300))
	for _, n := range []int{0, BlockSize, 2 * BlockSize} {
		if _, err := tree.WriteTo(&limited{n}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func BenchmarkHasher(b *testing.B) {
	const blocks = 16 << 10
	data := sample(blocks)
	for _, salt := range []int{0, 32} {
		b.Run(fmt.Sprintf("salt%d", salt), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				newTree(b, Params{DataBlocks: blocks, Salt: make([]byte, salt)}, data)
			}
		})
	}
}
