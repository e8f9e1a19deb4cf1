package families

import (
	"encoding/hex"
	"io"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/bootc"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families/internal/ocilayout"
)

// TestBootcDigest computes the digest again from the layers' bytes.
func TestBootcDigest(t *testing.T) {
	for _, a := range arch.All() {
		in := ociInput(t, a.Name)
		_, dir := build(t, oci{}, in)
		image, err := ocilayout.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		whole, contents := tree.New(0), &ocilayout.Digests{Wide: true}
		for n := range image.Manifest.Layers {
			if err := image.Layer(t.Context(), n, func(r io.Reader) error { return ocilayout.Apply(whole, r, contents) }); err != nil {
				t.Fatal(err)
			}
		}
		digest, err := bootc.Digest(whole, contents.Object)
		if got := image.Manifest.Annotations[bootc.DigestKey]; err != nil || got != hex.EncodeToString(digest[:]) {
			t.Errorf("%s: the annotation is %q, the layers have %x (%v)", a.Name, got, digest, err)
		}
	}
}

// TestNoBootcDigest: of a root with an SELinux policy the digest can't be known.
func TestNoBootcDigest(t *testing.T) {
	in := ociInput(t, "amd64")
	if err := in.Tree.Put("etc/selinux/config", &tree.Inode{Mode: tree.TypeRegular | 0o644, Content: tree.Content{Inline: []byte{}}}); err != nil {
		t.Fatal(err)
	}
	_, dir := build(t, oci{}, in)
	_, manifest := openImage(t, dir)
	if got, ok := manifest.Annotations[bootc.DigestKey]; ok {
		t.Errorf("the annotation is %q", got)
	}
}
