package spec

import (
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
)

func TestPersist(t *testing.T) {
	for src, want := range map[string]struct {
		Persist
		bytes int64
	}{
		"disk: {size: 4GiB, persist: {}}":                                 {Persist{"rest", "persist"}, 0},
		"disk: {size: 4GiB, persist: {size: rest, label: state}}":         {Persist{"rest", "state"}, 0},
		"disk: {persist: {size: 512MiB, label: A.b_c-d012345678}}":        {Persist{"512MiB", "A.b_c-d012345678"}, 512 << 20},
		"disk:\n  size: 1TiB\n  persist:\n    size: 3GiB\n    label: '1'": {Persist{"3GiB", "1"}, 3 << 30},
	} {
		f, err := Parse("platform.yaml", []byte(minimal+src+"\n"))
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		bytes, err := f.Disk.Persist.Bytes()
		if *f.Disk.Persist != want.Persist || bytes != want.bytes || err != nil {
			t.Errorf("%s: got %+v with %d bytes, %v", src, *f.Disk.Persist, bytes, err)
		}
	}
	if f, err := Parse("platform.yaml", []byte(minimal)); err != nil || f.Disk.Persist != nil {
		t.Errorf("a partition that nobody asked for: %v", err)
	}
}

func TestPersistRefused(t *testing.T) {
	for src, want := range map[string]string{
		"{persist: {}}":                                        "platform.yaml:4: disk.persist.size: a disk that is as small as its content has no rest; set disk.size",
		"{persist: {size: 1 GiB}}":                             `platform.yaml:4: disk.persist.size: "1 GiB" is not a size; write a whole number`,
		"{persist: {size: 5}}":                                 "platform.yaml:4: disk.persist.size: expected a string",
		"{persist: rest}":                                      "platform.yaml:4: disk.persist: expected a mapping",
		"{persist: {sice: 1GiB}}":                              `disk.persist.sice: unknown field; did you mean "size"?`,
		"{persist: {size: 1GiB, label: a b}}":                  `disk.persist.label: "a b" is not a label; use up to 16`,
		"{persist: {size: 1GiB, label: abcdefghijklmnopq}}":    "is not a label",
		"{persist: {size: 1GiB, label: root}}":                 `"root" is another partition's name`,
		"{persist: {size: 1GiB, label: ../x}}":                 "is not a label",
		"{size: 1PiB, persist: {size: rest}}":                  `disk.size: "1PiB" is not a size`,
		"{size: 1GiB}\ncmdline: [bootsmith.persist=elsewhere]": `"bootsmith.persist" is set by the build`,
	} {
		_, err := Parse("platform.yaml", []byte(minimal+"disk: "+src+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) || fault.ClassOf(err) != fault.Input {
			t.Errorf("%s: got %v, want %q", src, err, want)
		}
	}
}
