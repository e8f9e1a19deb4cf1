package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// Disk shapes the disk images.
type Disk struct {
	Size    string   `yaml:"size" doc:"size of the disk, for example 4GiB; default: as small as the content"`
	Persist *Persist `yaml:"persist" doc:"a partition that keeps what is written to /etc and /var; default: none, they are in memory"`
}

// Persist is a partition for what a machine writes.
type Persist struct {
	Size  string `yaml:"size" doc:"size of the partition, or rest for what the disk has left; default: rest"`
	Label string `yaml:"label" doc:"name of the partition and label of its file system, by which a booting machine finds it; default: persist"`
}

// rest is the size of a partition that takes what is left.
const rest = "rest"

var (
	sizePattern = regexp.MustCompile(`\A([1-9][0-9]*)(MiB|GiB|TiB)\z`)
	// labelPattern is what a partition table, a file system and a kernel
	// parameter can hold alike.
	labelPattern = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]{0,15}\z`)
)

func (f *File) validateDisk() error {
	size, err := f.Disk.Bytes()
	if err != nil {
		return f.Bad("disk.size", "%q is not a size", f.Disk.Size).WithFix("write a whole number of MiB, GiB or TiB, for example 4GiB")
	}
	p := f.Disk.Persist
	if p == nil {
		return nil
	}
	persist, err := p.Bytes()
	switch {
	case err != nil:
		return f.Bad("disk.persist.size", "%q is not a size", p.Size).WithFix("write a whole number of MiB, GiB or TiB, or rest")
	case persist == 0 && size == 0:
		return f.Bad("disk.persist.size", "a disk that is as small as its content has no rest").WithFix("set disk.size, or the size of the partition")
	case !labelPattern.MatchString(p.Label):
		return f.Bad("disk.persist.label", "%q is not a label", p.Label).WithFix("use up to 16 letters, digits, dots, dashes and underscores")
	case slices.Contains([]string{"esp", "root"}, p.Label):
		return f.Bad("disk.persist.label", "%q is another partition's name", p.Label).WithFix("choose another, for example persist")
	}
	return nil
}

// Bytes returns the size in bytes, 0 for the default.
func (d Disk) Bytes() (int64, error) {
	if d.Size == "" {
		return 0, nil
	}
	return ParseSize(d.Size)
}

// Bytes returns the size in bytes, 0 for the rest of the disk.
func (p Persist) Bytes() (int64, error) {
	if p.Size == rest {
		return 0, nil
	}
	return ParseSize(p.Size)
}

// ParseSize reads a whole number of MiB, GiB or TiB and returns bytes.
func ParseSize(size string) (int64, error) {
	m := sizePattern.FindStringSubmatch(size)
	if m == nil {
		return 0, fmt.Errorf("parsing size %q", size)
	}
	n, err := strconv.ParseInt(m[1], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("parsing size %q: %w", size, err)
	}
	shift := map[string]int{"MiB": 20, "GiB": 30, "TiB": 40}[m[2]]
	if n > 1<<(62-shift) {
		return 0, fmt.Errorf("parsing size %q: too large", size)
	}
	return n << shift, nil
}
