package inspect

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/uki"
)

func isProgram(s source) bool { return s.has(0, "MZ") }

// describeProgram describes an EFI program: a unified kernel image, a kernel, or
// any other.
func describeProgram(_ context.Context, s source, r *Report, _ int) error {
	image, err := uki.Read(s, s.size)
	if err != nil {
		return err
	}
	r.Kind = "EFI program"
	r.set("machine", machine(image.Machine))
	r.set("kernel version", kernelVersion(s))
	if len(r.Facts) > 1 {
		r.Kind = "kernel"
	}
	for _, section := range image.Sections {
		if section.Name == uki.SectionLinux {
			r.Kind = "unified kernel image"
		}
		r.Parts = append(r.Parts, Report{Name: section.Name, Kind: "section", Size: section.Size})
	}
	for _, text := range []struct{ fact, section string }{
		{"kernel command line", uki.SectionCmdline},
		{"kernel version", uki.SectionUname},
	} {
		if value, err := image.Text(text.section); err == nil {
			r.set(text.fact, value)
		}
	}
	if release, err := image.Text(uki.SectionOSRelease); err == nil {
		r.set("system", prettyName(release))
	}
	return nil
}

func machine(pe uint16) string {
	for _, a := range arch.All() {
		if a.PEMachine == pe {
			return a.Name
		}
	}
	return fmt.Sprintf("%#x", pe)
}

// kernelVersion returns the version text of an x86 kernel: the setup header has
// "HdrS" at byte 514 and, at byte 526, the text's place less 512 (kernel,
// arch/x86/boot.rst).
func kernelVersion(s source) string {
	head, err := s.head(64 << 10)
	if err != nil || len(head) < 528 || string(head[514:518]) != "HdrS" {
		return ""
	}
	at := int(binary.LittleEndian.Uint16(head[526:])) + 512
	if at == 512 || at >= len(head) {
		return ""
	}
	version, _, _ := strings.Cut(string(head[at:]), "\x00")
	return strings.ToValidUTF8(version[:min(len(version), 200)], "?")
}

// prettyName returns the name and version in an os-release file.
func prettyName(release string) string {
	values := map[string]string{}
	for line := range strings.Lines(release) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.Trim(value, `"'`)
	}
	for _, key := range []string{"PRETTY_NAME", "NAME", "ID"} {
		if values[key] != "" {
			return values[key]
		}
	}
	return ""
}
