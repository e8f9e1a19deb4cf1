package families

import (
	"bytes"
	"slices"
	"testing"
)

// TestPartsAreAllThatIsUsed builds every family from its parts alone, with all
// other parts missing, and expects the files that it makes of a whole input.
func TestPartsAreAllThatIsUsed(t *testing.T) {
	for _, f := range All() {
		t.Run(f.Name(), func(t *testing.T) {
			in := inputFor(t, f)
			in.Persist, in.BaseURL = &Persist{Label: "persist", Size: MinPersist}, "http://boot.example.org/"
			whole, _ := build(t, f, in)
			some, _ := build(t, f, in.Only(PartsOf(f)))
			if !slices.Equal(whole.Artifacts(), some.Artifacts()) {
				t.Errorf("from %q alone it makes other files:\n%v\n%v", PartsOf(f), whole.Artifacts(), some.Artifacts())
			}
		})
	}
}

// TestSpans puts every file together again from the files that it embeds, and
// finds the root image where it is embedded as it is.
func TestSpans(t *testing.T) {
	embed := map[string][]string{
		"kernel-initrd": {"vmlinuz", "initramfs.cpio.zst", "root.img", "root.img"},
		"raw":           {"uki.efi", "root.img"},
		"iso":           {"uki.efi", "root.img"},
		RPi4Name:        {"root.img", "vmlinuz", "initramfs.cpio.zst"},
	}
	for _, f := range All() {
		t.Run(f.Name(), func(t *testing.T) {
			in := inputFor(t, f)
			sink, dir := build(t, f, in)
			names := map[string]string{in.Kernel.Path: "vmlinuz", in.Initramfs.Path: "initramfs.cpio.zst", in.RootImage.Path: "root.img", in.UKI.Path: "uki.efi"}
			var embedded []string
			for _, a := range sink.Artifacts() {
				data := readFile(t, dir, a.Name)
				for _, s := range sink.Spans(a.Name) {
					run := data[:s.Size]
					data = data[s.Size:]
					if s.Hole && bytes.Trim(run, "\x00") != nil {
						t.Errorf("%s: a hole of %d bytes holds something", a.Name, s.Size)
					}
					if s.From != "" && !bytes.Equal(run, readFile(t, s.From)) {
						t.Errorf("%s: other bytes than those of %s", a.Name, s.From)
					}
					if names[s.From] != "" {
						embedded = append(embedded, names[s.From])
					}
				}
				if len(data) > 0 {
					t.Errorf("%s: %d bytes belong to no span", a.Name, len(data))
				}
			}
			slices.Sort(embedded)
			slices.Sort(embed[f.Name()])
			if !slices.Equal(embedded, embed[f.Name()]) {
				t.Errorf("%q are embedded, not %q", embedded, embed[f.Name()])
			}
		})
	}
}
