package composefs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	goerofs "github.com/erofs/go-erofs"

	"github.com/powernode/bootsmith/builder/fsverity"
	"github.com/powernode/bootsmith/builder/tree"
)

// version1 is mkcomposefs --min-version=1.
func version1() variant {
	v := plain()
	v.version = 1
	return v
}

func TestVersion1EqualsMkcomposefs(t *testing.T) {
	tool := mkcomposefs(t)
	for _, c := range corpus {
		t.Run(c.name, func(t *testing.T) {
			tr := newTree(t, c.fill)
			img, err := newImage(tr, version1())
			if err != nil {
				t.Fatal(err)
			}
			var ours, dump bytes.Buffer
			if _, err := img.write(&ours); err != nil {
				t.Fatal(err)
			}
			if err := WriteDump(&dump, tr); err != nil {
				t.Fatal(err)
			}
			theirs, err := tool.Image(t.Context(), &dump, "--min-version=1", "--max-version=1")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ours.Bytes(), theirs) {
				t.Errorf("our %d bytes differ from their %d, first at %d", ours.Len(), len(theirs), firstDifference(ours.Bytes(), theirs))
			}
		})
	}
}

// simpleTree is the tree of composefs-rs' test_erofs_digest_stability.
func simpleTree(t *testing.T) *tree.Tree {
	t.Helper()
	tr := tree.New(0)
	external := tree.Digest(bytes.Repeat([]byte{0x5a}, 32))
	for name, i := range map[string]tree.Inode{
		"fifo":             {Mode: tree.TypeFifo},
		"regular-inline":   {Mode: tree.TypeRegular, Size: 4, Content: tree.Content{Inline: []byte("hihi")}},
		"regular-external": {Mode: tree.TypeRegular, Size: 1234, Content: tree.Content{Verity: external}},
		"chrdev":           {Mode: tree.TypeChar, Minor: 123},
		"blkdev":           {Mode: tree.TypeBlock, Minor: 123},
		"socket":           {Mode: tree.TypeSocket},
		"symlink":          {Mode: tree.TypeSymlink, Target: "/target"},
	} {
		if err := tr.Put(name, &i); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// TestDigestsOfComposefsRS compares with the digests that composefs-rs pins
// (crates/composefs/tests/mkfs.rs, test_erofs_digest_stability).
func TestDigestsOfComposefsRS(t *testing.T) {
	for _, tc := range []struct {
		name string
		tree *tree.Tree
		v    variant
		want string
	}{
		{"empty_v0", tree.New(0), plain(), "8f589e8f57ecb88823736b0d857ddca1e1068a23e264fad164b28f7038eb3682"},
		{"simple_v0", simpleTree(t), plain(), "9f3f5620ee0c54708516467d0d58741e7963047c7106b245d94c298259d0fa01"},
		{"empty_v1", tree.New(0), version1(), "14a26c957c84f6eb774b91205476adc13196c7c33b9dd97d08d43725ecb90b63"},
		{"simple_v1", simpleTree(t), version1(), "ad6db6427568a1e4fdc772cbab7b6063f5eb4b33cb62982a740ba9213e5962b5"},
	} {
		img, err := newImage(tc.tree, tc.v)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := img.write(io.Discard)
		if got := hex.EncodeToString(digest[:]); err != nil || got != tc.want {
			t.Errorf("%s: %s (%v), want %s", tc.name, got, err, tc.want)
		}
	}
}

// TestImage512 reads back what only SHA-512 makes different.
func TestImage512(t *testing.T) {
	object := fsverity.New512()
	object.Write(bytes.Repeat([]byte("object"), 300))
	name := object.Sum()
	var image bytes.Buffer
	digest, err := WriteImage512(&image, simpleTree(t), func(c tree.Content) ([64]byte, error) {
		if c.Verity[0] != 0x5a {
			t.Errorf("asked for %x", c.Verity)
		}
		return name, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	whole := fsverity.New512()
	whole.Write(image.Bytes())
	if digest != whole.Sum() {
		t.Error("the digest is not that of the image")
	}
	text := hex.EncodeToString(name[:])
	for _, want := range []string{"/" + text[:2] + "/" + text[2:], "\x00\x44\x00\x02" + string(name[:])} {
		if !bytes.Contains(image.Bytes(), []byte(want)) {
			t.Errorf("%q is not in the image", want)
		}
	}
	if _, err := goerofs.Open(bytes.NewReader(image.Bytes())); err != nil {
		t.Error(err)
	}
	failed := errors.New("failed")
	if _, err := WriteImage512(io.Discard, simpleTree(t), func(tree.Content) ([64]byte, error) { return name, failed }); !errors.Is(err, failed) || !strings.Contains(err.Error(), "/regular-external") {
		t.Errorf("%v", err)
	}
}
