package persist

import (
	"bytes"
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

// machine is a sysfs with the disks of a test.
type machine struct {
	sys     fstest.MapFS
	content map[string][]byte
}

func newMachine() machine { return machine{fstest.MapFS{}, map[string][]byte{}} }

func (m machine) disk(name string) { m.put(name, "devices/virtual/block/"+name, "") }

func (m machine) partition(disk, name, label string) {
	dir := "devices/virtual/block/" + disk + "/" + name
	m.sys[dir+"/partition"] = &fstest.MapFile{Data: []byte("1\n")}
	event := "MAJOR=254\nDEVTYPE=partition\n"
	if label != "" {
		event += "PARTNAME=" + label + "\n"
	}
	m.put(name, dir, event)
}

func (m machine) put(name, dir, event string) {
	m.sys[dir+"/uevent"] = &fstest.MapFile{Data: []byte(event)}
	m.sys["class/block/"+name] = &fstest.MapFile{Data: []byte("../../" + dir), Mode: fs.ModeSymlink}
}

func (m machine) format(name, label string) {
	m.content[name] = append(make([]byte, 1024), super(label)...)
}

func super(label string) []byte {
	b := make([]byte, 1024)
	b[0x38], b[0x39] = 0x53, 0xef
	copy(b[0x78:0x88], label)
	return b
}

type device struct{ *bytes.Reader }

func (device) Close() error { return nil }

func (m machine) open(name string) (File, error) {
	data, ok := m.content[name]
	if !ok {
		return nil, errors.New("no medium")
	}
	return device{bytes.NewReader(data)}, nil
}

func (m machine) find(t *testing.T, root string) (here, elsewhere []string) {
	t.Helper()
	here, elsewhere, err := Search{Label: "persist", RootDevice: root, Sys: m.sys, Open: m.open}.Find()
	if err != nil {
		t.Fatal(err)
	}
	return here, elsewhere
}

func TestFind(t *testing.T) {
	for name, x := range map[string]struct {
		build           func(machine)
		root            string
		here, elsewhere []string
	}{
		"name":           {func(m machine) { m.partition("vda", "vda3", "persist") }, "vda2", []string{"vda3"}, nil},
		"label":          {func(m machine) { m.partition("vda", "vda3", ""); m.format("vda3", "persist") }, "vda2", []string{"vda3"}, nil},
		"other label":    {func(m machine) { m.partition("vda", "vda3", "data"); m.format("vda3", "persist2") }, "vda2", nil, nil},
		"whole disk":     {func(m machine) { m.disk("vdb"); m.format("vdb", "persist") }, "vda2", nil, []string{"vdb"}},
		"another disk":   {func(m machine) { m.partition("sdb", "sdb1", "persist") }, "vda2", nil, []string{"sdb1"}},
		"root in memory": {func(m machine) { m.partition("sdb", "sdb1", "persist") }, "", nil, []string{"sdb1"}},
		"same disk first": {func(m machine) {
			m.partition("sda", "sda3", "persist")
			m.partition("vda", "vda3", "persist")
		}, "vda2", []string{"vda3"}, []string{"sda3"}},
		"two disks": {func(m machine) {
			m.partition("sda", "sda3", "persist")
			m.partition("sdb", "sdb3", "persist")
		}, "", nil, []string{"sda3", "sdb3"}},
		"twice":  {func(m machine) { m.partition("vda", "vda3", "persist"); m.partition("vda", "vda4", "persist") }, "vda2", []string{"vda3", "vda4"}, nil},
		"short":  {func(m machine) { m.disk("vdb"); m.content["vdb"] = make([]byte, 1500) }, "vda2", nil, nil},
		"slash":  {func(m machine) { m.partition("cciss!c0d0", "cciss!c0d0p3", "persist") }, "cciss/c0d0p2", []string{"cciss/c0d0p3"}, nil},
		"device": {func(m machine) { m.disk("loop7"); m.format("loop7", "persist") }, "", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			m.disk("vda")
			m.partition("vda", "vda1", "esp")
			m.partition("vda", "vda2", "root")
			m.partition("cciss!c0d0", "cciss!c0d0p2", "root")
			x.build(m)
			if here, elsewhere := m.find(t, x.root); !reflect.DeepEqual(here, x.here) || !reflect.DeepEqual(elsewhere, x.elsewhere) {
				t.Errorf("got %q and %q, want %q and %q", here, elsewhere, x.here, x.elsewhere)
			}
		})
	}
	if _, _, err := (Search{Sys: fstest.MapFS{}}).Find(); err == nil {
		t.Error("a missing sysfs was taken")
	}
}

func TestOnPartition(t *testing.T) {
	m := newMachine()
	m.disk("vda")
	m.partition("vda", "vda2", "root")
	for name, want := range map[string]bool{"vda2": true, "vda": false, "": false, "vdb2": false} {
		if got := (Search{RootDevice: name, Sys: m.sys}).OnPartition(); got != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
}

func TestDescribe(t *testing.T) {
	if got := Describe([]string{"a", "b"}); got != "a, b" {
		t.Error(got)
	}
	names := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}
	if got := Describe(names); got != "1, 2, 3, 4, 5, 6, 7, 8, 2 more" || names[8] != "9" {
		t.Error(got)
	}
}

func FuzzLabel(f *testing.F) {
	f.Add(super("persist"))
	f.Add(super("sixteen letters!"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		label, ok := Label(data)
		if len(label) > 16 || !ok && label != "" || bytes.IndexByte([]byte(label), 0) >= 0 {
			t.Errorf("got %q, %v", label, ok)
		}
	})
}

// What a partition table and a file system say of themselves finds them or not;
// nothing else is made of it.
func FuzzFind(f *testing.F) {
	f.Add("PARTNAME=persist\n", super("persist"))
	f.Add("PARTN=3\nPARTNAME=persist", []byte{})
	f.Add("PARTNAME=\n", super(""))
	f.Fuzz(func(t *testing.T, event string, superblock []byte) {
		m := newMachine()
		m.partition("vda", "vda2", "root")
		m.partition("vda", "vda3", "")
		m.put("vda3", "devices/virtual/block/vda/vda3", event)
		m.content["vda3"] = append(make([]byte, superOffset), superblock...)
		here, elsewhere := m.find(t, "vda2")
		label, _ := Label(superblock)
		if found := len(here) == 1; found && !strings.Contains(event, "PARTNAME=persist") && label != "persist" || len(elsewhere) > 0 {
			t.Errorf("%q found %q and %q", event, here, elsewhere)
		}
	})
}

func TestLabel(t *testing.T) {
	for _, want := range []string{"", "persist", "sixteen letters!"} {
		if got, ok := Label(super(want)); !ok || got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if _, ok := Label(super("x")[:1000]); ok {
		t.Error("a short superblock was taken")
	}
}
