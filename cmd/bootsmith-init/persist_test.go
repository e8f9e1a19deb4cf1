//go:build linux

package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/console"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/persist"
)

// partition adds a partition to a sysfs.
func partition(sys fstest.MapFS, disk, name, label string) {
	dir := "devices/" + disk + "/" + name
	sys[dir+"/partition"] = &fstest.MapFile{Data: []byte("1\n")}
	sys[dir+"/uevent"] = &fstest.MapFile{Data: []byte("PARTNAME=" + label + "\n")}
	sys["class/block/"+name] = &fstest.MapFile{Data: []byte("../../" + dir), Mode: fs.ModeSymlink}
}

// TestWaitForPersist has disks that appear late.
func TestWaitForPersist(t *testing.T) {
	type disk struct {
		after      time.Duration
		disk, part string
	}
	for name, x := range map[string]struct {
		appear []disk
		root   string
		iso    bool
		want   string // device or part of an error
		took   time.Duration
	}{
		"at once":                {[]disk{{0, "vda", "vda3"}}, "vda2", false, "vda3", 0},
		"late":                   {[]disk{{20 * time.Second, "vda", "vda3"}}, "vda2", false, "vda3", 20 * time.Second},
		"never":                  {nil, "vda2", false, `no partition "persist", which keeps`, searchTime},
		"data disk":              {[]disk{{0, "vdb", "vdb1"}}, "vda2", false, "vdb1", settleTime},
		"own disk is slower":     {[]disk{{0, "vdb", "vdb1"}, {time.Second, "vda", "vda3"}}, "vda2", false, "vda3", time.Second},
		"root in memory":         {[]disk{{time.Second, "vda", "vda3"}}, "", false, "vda3", time.Second},
		"root in memory, no one": {[]disk{{time.Minute, "vda", "vda3"}}, "", false, "", settleTime},
		"root is a whole disk":   {[]disk{{0, "vda", "vda3"}}, "vdc", false, "vda3", 0},
		"ISO":                    {[]disk{{time.Second, "vda", "vda3"}}, "", true, "", 0},
		"ISO and disk":           {[]disk{{0, "vda", "vda3"}}, "", true, "vda3", 0},
		"two":                    {[]disk{{0, "vda", "vda3"}, {0, "vdb", "vdb3"}}, "", false, `2 partitions have the name "persist": vda3, vdb3; remove`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			sys := fstest.MapFS{}
			partition(sys, "vda", "vda2", "root")
			var now time.Duration
			appear := func() {
				for _, d := range x.appear {
					if now >= d.after {
						partition(sys, d.disk, d.part, "persist")
					}
				}
			}
			var out bytes.Buffer
			b := &boot{
				Console: console.New(&out),
				now:     func() time.Time { return time.Unix(0, int64(now)) },
				sleep:   func(d time.Duration) { now += d; appear() },
			}
			appear()
			s := persist.Search{Label: "persist", RootDevice: x.root, Sys: sys, Open: func(string) (persist.File, error) { return nil, unix.ENOMEDIUM }}
			got, err := b.waitForPersist(s, x.iso)
			if err != nil && (x.want == "" || !strings.Contains(err.Error(), x.want)) || err == nil && got != x.want || now != x.took {
				t.Errorf("got %q, %v after %v, want %q after %v", got, err, now, x.want, x.took)
			}
			if noticed := strings.Contains(out.String(), "waiting for the partition"); noticed != (now > noticeTime) {
				t.Errorf("after %v: %s", now, out.String())
			}
		})
	}
}

func TestPersistFailure(t *testing.T) {
	for err, want := range map[error]string{
		unix.EACCES:  "vda3, which keeps what is written to /etc and /var, is write-protected (permission denied); make the disk writable",
		unix.EUCLEAN: "can't be mounted (structure needs cleaning); check it with e2fsck",
		unix.ENODEV:  "no such device; the initramfs lacks a kernel module",
	} {
		if got := withFix(persistFailure("vda3", err)); !strings.Contains(got.Error(), want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMakeLayers(t *testing.T) {
	lower, base := t.TempDir(), filepath.Join(t.TempDir(), "etc")
	if err := os.Chmod(lower, 0o751); err != nil {
		t.Fatal(err)
	}
	// A boot that lost power in between has left something.
	if err := os.MkdirAll(base+"/upper.new/x", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := makeLayers(base, lower); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(base + "/upper")
	if err != nil || info.Mode().Perm() != 0o751 {
		t.Errorf("%v, %v", info, err)
	}
	left, err := os.ReadDir(base)
	if err != nil || len(left) != 2 || left[0].Name() != "upper" || left[1].Name() != "work" {
		t.Errorf("%v, %v", left, err)
	}
	// What the machine did to its directory stays.
	if err := errors.Join(os.Chmod(base+"/upper", 0o700), os.WriteFile(base+"/upper/file", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := makeLayers(base, lower); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(base + "/upper"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(base + "/upper/file"); err != nil {
		t.Error(err)
	}
	if err := makeLayers(filepath.Join(base, "upper/file"), lower); err == nil {
		t.Error("a file was taken for a directory")
	}
}
