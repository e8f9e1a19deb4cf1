package e2e_test

import (
	"bytes"
	"debug/pe"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// checkRaw checks the partition table, the EFI system partition, the UKI in it
// and the root partition.
func checkRaw(t *testing.T, a artifacts) {
	disk := a.main(t, "raw")
	checkTable(t, disk)
	checkESP(t, a, disk)

	root := partitionOf(t, disk, 2)
	if !strings.EqualFold(root.typeGUID, a.arch.RootType) {
		t.Errorf("the root partition's type is %s, not %s", root.typeGUID, a.arch.RootType)
	}
	image := a.path("kernel-initrd/root.img")
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	inside := carve(t, disk, root.start, info.Size())
	if sumOfFile(t, inside) != sumOfFile(t, image) {
		t.Error("the root partition holds another root.img")
	}
	checkRootImage(t, a, inside)
}

func checkQcow2(t *testing.T, a artifacts) {
	disk := a.main(t, "qcow2")
	qemuImg.run(t, "", "check", "-f", "qcow2", disk)
	// It warns of differing sizes and ends with 0.
	if said := string(qemuImg.run(t, "", "compare", "-f", "raw", "-F", "qcow2", a.main(t, "raw"), disk)); said != "Images are identical.\n" {
		t.Errorf("qemu-img compares: %s", said)
	}
}

// checkISO checks the volume, its boot catalog and the partition table that
// makes it boot from a disk.
func checkISO(t *testing.T, a artifacts) {
	volume := a.main(t, "iso")
	checkTable(t, volume)
	checkESP(t, a, volume)

	report := string(xorriso.run(t, "", "-indev", volume, "-report_el_torito", "plain", "-report_system_area", "plain"))
	for _, want := range []string{
		`El Torito boot img :\s+1\s+UEFI\s+y\s+none`,
		`System area summary:.* GPT`,
		`GPT type GUID\s+:\s+1\s+28732ac11ff8d211ba4b00a0c93ec93b`,
	} {
		if !regexp.MustCompile(want).MatchString(report) {
			t.Errorf("xorriso doesn't report %q:\n%s", want, report)
		}
	}
	about := string(isoinfo.run(t, "", "-d", "-i", volume))
	for _, want := range []string{"Rock Ridge signatures", "Joliet with UCS level 3", "El Torito VD version 1"} {
		if !strings.Contains(about, want) {
			t.Errorf("isoinfo doesn't find %q:\n%s", want, about)
		}
	}
	want := sumOfFile(t, a.path("kernel-initrd/root.img"))
	for names, path := range map[string]string{"-R": "/root.img", "-J": "/root.img;1"} {
		inside := isoinfo.run(t, "", names, "-i", volume, "-x", path)
		if sumOf(t, bytes.NewReader(inside)) != want {
			t.Errorf("isoinfo %s finds another root.img", names)
		}
	}
}

// checkTable lets sgdisk check both copies of a GPT. It ends with 0 whatever it
// finds.
func checkTable(t *testing.T, disk string) {
	t.Helper()
	if said := string(sgdisk.run(t, "", "--verify", disk)); !strings.Contains(said, "No problems found") {
		t.Errorf("sgdisk finds problems:\n%s", said)
	}
}

// checkESP checks the file system of partition 1 and compares what it boots
// with the parts.
func checkESP(t *testing.T, a artifacts, disk string) {
	t.Helper()
	esp := partitionOf(t, disk, 1)
	if esp.typeGUID != "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" {
		t.Errorf("the first partition's type is %s", esp.typeGUID)
	}
	fsckVFAT.run(t, "", "-n", carve(t, disk, esp.start, esp.size))

	uki := ukiOf(t, a, disk)
	checkSections(t, a, uki.path)
	if got := string(uki.section(t, ".uname")); got != a.manifest.KernelVersion {
		t.Errorf(".uname of the UKI is %q", got)
	}
	if got := string(uki.section(t, ".osrel")); !strings.Contains(got, "ID=debian\n") {
		t.Errorf(".osrel of the UKI is %q", got)
	}
}

// checkSections lets binutils list the sections of a UKI, and take out those that
// are files of their own.
func checkSections(t *testing.T, a artifacts, uki string) {
	t.Helper()
	objdump, objcopy := binutils(a, "objdump"), binutils(a, "objcopy")
	listing := string(objdump.run(t, "", "--section-headers", uki))
	dir := t.TempDir()
	for section, path := range map[string]string{
		".linux": "kernel-initrd/vmlinuz", ".initrd": "kernel-initrd/initramfs.cpio.zst", ".cmdline": "kernel-initrd/cmdline",
		".osrel": "", ".uname": "", ".sbat": "",
	} {
		if !strings.Contains(listing, " "+section+" ") {
			t.Errorf("objdump lists no section %s:\n%s", section, listing)
			continue
		}
		if path == "" {
			continue
		}
		file := filepath.Join(dir, section)
		objcopy.run(t, "", "--dump-section", section+"="+file, uki, filepath.Join(dir, "copy.efi"))
		// Sections are padded, and cmdline ends a line.
		want := bytes.TrimRight(readFile(t, a.path(path)), "\n")
		got, padding := bytes.CutPrefix(readFile(t, file), want)
		if !padding || len(bytes.Trim(got, "\x00\n")) > 0 {
			t.Errorf("%s of the UKI is not %s", section, path)
		}
	}
}

// binutils are the programs that know an architecture's EFI programs.
func binutils(a artifacts, name string) reader {
	target := a.arch.Machine + "-linux-gnu"
	return reader{"binutils-" + strings.ReplaceAll(target, "_", "-"), target + "-" + name}
}

// efiProgram is an EFI program, read by Go's own package.
type efiProgram struct {
	*pe.File
	path string
}

// ukiOf takes the UKI out of a disk's EFI system partition with mtools.
func ukiOf(t *testing.T, a artifacts, disk string) efiProgram {
	t.Helper()
	path := filepath.Join(t.TempDir(), "uki.efi")
	image := fmt.Sprintf("%s@@%d", disk, partitionOf(t, disk, 1).start)
	mcopy.run(t, "", "-i", image, "::EFI/BOOT/"+a.arch.EFIBootFile, path)
	f, err := pe.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	machine := map[string]uint16{"amd64": pe.IMAGE_FILE_MACHINE_AMD64, "arm64": pe.IMAGE_FILE_MACHINE_ARM64}[a.arch.Name]
	if f.Machine != machine {
		t.Errorf("the UKI is for machine %#x", f.Machine)
	}
	return efiProgram{f, path}
}

// section returns a section's bytes without the padding at its end.
func (p efiProgram) section(t *testing.T, name string) []byte {
	t.Helper()
	s := p.Section(name)
	if s == nil {
		t.Fatalf("the UKI has no section %s", name)
	}
	data := copyOf(t, s.Open())
	return data[:min(len(data), int(s.VirtualSize))]
}
