//go:build boot

package vm_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/cmd/internal/vm"
)

// step is something to type and what has to be seen then.
type step struct{ typed, seen string }

// started has to be seen before anything is typed.
var started = step{"", userspace}

// TestBootPersist writes to /etc and /var of a disk, cuts the power and boots
// the same disk again; then a newer root on it.
func TestBootPersist(t *testing.T) {
	first, second := buildPersist(t, "first"), buildPersist(t, "second")
	for _, a := range arch.All() {
		t.Run(a.Name, func(t *testing.T) {
			image := filepath.Join(first, a.Name, "raw", "persist-"+a.Name+".img")
			iso := func(build string) []string {
				return isoArgs(a, filepath.Join(build, a.Name, "iso", "persist-"+a.Name+".iso"))
			}
			disk := filepath.Join(t.TempDir(), "disk.img")

			// The power is cut after sync: the journal has to be replayed.
			converseWith(t, a, func() []string { copyFile(t, image, disk); return append(diskArgs(a), driveArgs(disk)...) }, []step{
				{"", "/etc and /var are kept on vda3"}, started,
				{"busybox ls /etc/machine /var/lib/machine", "No such file or directory"},
				{"echo etc > /etc/machine; busybox mkdir -p /var/lib && echo var > /var/lib/machine; busybox rm /etc/hostname; busybox chmod 600 /etc/passwd; busybox sync; echo written-$((6*7))", "written-42"},
			})
			converseWith(t, a, func() []string { return append(diskArgs(a), driveArgs(disk)...) }, append(kept(),
				step{"cat /etc/version | busybox tr a-z A-Z", "FIRST"},
				step{"echo again >> /etc/machine; busybox reboot -f", "reboot: Restarting system"},
			))
			// Another root, as after an update: it shows its own files but for
			// those that were changed.
			converseWith(t, a, func() []string { return append(iso(second), driveArgs(disk)...) }, append(kept(),
				step{"busybox tail -n 1 /etc/machine | busybox tr a-z A-Z", "AGAIN"},
				step{"cat /etc/version | busybox tr a-z A-Z", "SECOND"},
				step{"busybox poweroff -f", "reboot: Power down"},
			))
			checkFileSystem(t, disk)
			// Any ext4 file system with that label will do, such as a cloud's volume.
			volume := filepath.Join(t.TempDir(), "volume.img")
			run(t, "e2fsprogs", "mke2fs", "-q", "-t", "ext4", "-L", "persist", volume, "64m")
			converseWith(t, a, func() []string { return append(iso(first), driveArgs(volume)...) }, []step{
				{"", "/etc and /var are kept on vda\r"}, started,
				{"echo volume > /etc/machine && cat /etc/machine | busybox tr a-z A-Z", "VOLUME"},
			})
			// Without the disk, the ISO does without it.
			converseWith(t, a, func() []string { return iso(first) }, []step{
				{"", `no partition "persist": what is written to /etc and /var is lost when the machine stops`}, started,
				{"echo memory > /etc/machine && cat /etc/machine | busybox tr a-z A-Z", "MEMORY"},
			})
			damage(t, disk)
			converseWith(t, a, func() []string { return append(diskArgs(a), driveArgs(disk)...) }, []step{
				{"", "bootsmith-init: FATAL: vda3, which keeps what is written to /etc and /var, can't be mounted"},
			})
		})
	}
}

// kept returns what every boot after the first has to see.
func kept() []step {
	return []step{
		{"", "are kept on vda3"}, started,
		{"busybox head -n 1 /etc/machine | busybox tr a-z A-Z; busybox tr a-z A-Z < /var/lib/machine", "ETC"}, {"", "VAR"},
		{"cat /etc/hostname", "No such file or directory"},
		{"busybox stat -c 'mode-%a' /etc/passwd", "mode-600"},
	}
}

// buildPersist builds a variant of the minimal platform whose /etc/version tells
// it from others.
func buildPersist(t *testing.T, version string) string {
	t.Helper()
	dir := variant(t, func(yaml string) string {
		return strings.Replace(yaml, "name: minimal\n", "name: persist\nfamilies: [raw, iso]\ndisk: {size: 1GiB, persist: {size: rest, label: persist}}\n", 1)
	})
	if err := os.WriteFile(filepath.Join(dir, "overlay/etc/version"), []byte(version+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return buildPlatform(t, dir)
}

// diskArgs are a machine that boots from drive d0, driveArgs that drive, with
// all that is written kept in the file.
func diskArgs(a arch.Arch) []string { return append(vm.Base(a, 0), vm.Firmware(a, "")...) }

func driveArgs(path string) []string {
	return []string{"-drive", "if=none,id=d0,format=raw,file=" + path, "-device", "virtio-blk-pci,drive=d0,bootindex=1"}
}

// isoArgs boots from an optical drive.
func isoArgs(a arch.Arch, path string) []string {
	args := append(diskArgs(a), "-drive", "if=none,id=cd0,media=cdrom,readonly=on,format=raw,file="+path)
	return append(args, a.QEMU.CDROM...)
}

// converseWith boots and takes the steps; then the power is cut. A machine that
// the emulator broke is started anew, with fresh arguments.
func converseWith(t *testing.T, a arch.Arch, args func() []string, steps []step) {
	t.Helper()
	for try := 0; ; try++ {
		console, err := takeSteps(args(), steps)
		if err == nil {
			return
		}
		if try == retries || !emulatorBroke(console) {
			t.Fatalf("%s: %v; the console said:\n%s", a.Name, err, console)
		}
	}
}

func takeSteps(args []string, steps []step) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	stdin, keyboard := io.Pipe()
	screen := newScreen()
	ended := make(chan error, 1)
	go func() { ended <- vm.Start(ctx, args, stdin, screen, false); screen.close() }()
	err := follow(ctx, screen, keyboard, steps)
	cancel()
	keyboard.Close()
	<-ended
	return screen.String(), err
}

func follow(ctx context.Context, screen *screen, keyboard io.Writer, steps []step) error {
	for _, s := range steps {
		if s.typed != "" {
			if _, err := fmt.Fprintln(keyboard, s.typed); err != nil {
				return err
			}
		}
		if err := screen.wait(ctx, s.seen); err != nil {
			return fmt.Errorf("after typing %q: %w", s.typed, err)
		}
	}
	return nil
}

func copyFile(t *testing.T, src, dst string) {
	t.Helper()
	run(t, "coreutils", "cp", "--sparse=always", src, dst)
}

// persistPartition is the number of the partition that is written to.
const persistPartition = 3

// partitionStart returns where a partition begins, in bytes.
func partitionStart(t *testing.T, disk string, number int) int64 {
	t.Helper()
	var first int64
	for line := range strings.Lines(run(t, "gdisk", "sgdisk", "-i", fmt.Sprint(number), disk)) {
		fmt.Sscanf(line, "First sector: %d", &first)
	}
	return first * 512
}

// checkFileSystem replays the journal and lets e2fsck look for errors.
func checkFileSystem(t *testing.T, disk string) {
	t.Helper()
	part := disk + ".part"
	run(t, "coreutils", "dd", "if="+disk, "of="+part, "bs=1M", "conv=sparse", "iflag=skip_bytes", fmt.Sprintf("skip=%d", partitionStart(t, disk, persistPartition)))
	run(t, "e2fsprogs", "e2fsck", "-E", "journal_only", "-y", part)
	run(t, "e2fsprogs", "e2fsck", "-fn", part)
}

// damage overwrites the file system's begin.
func damage(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 8192), partitionStart(t, disk, persistPartition)); err != nil {
		t.Fatal(err)
	}
}
