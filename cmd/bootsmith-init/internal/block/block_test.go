package block

import (
	"reflect"
	"testing"
	"testing/fstest"
)

func TestList(t *testing.T) {
	sys := fstest.MapFS{}
	for _, name := range []string{"sr0/size", "vda/size", "vda2/partition", "vda1/partition", "cciss!c0d0/size",
		"loop0/size", "dm-0/size", "ram1/size", "zram0/size", "fd0/size", "nvme0n1/size", "nvme0n1p1/partition"} {
		sys["class/block/"+name] = &fstest.MapFile{Data: []byte("1\n")}
	}
	got, err := List(sys)
	want := []Device{{"nvme0n1p1", true}, {"vda1", true}, {"vda2", true},
		{"cciss/c0d0", false}, {"nvme0n1", false}, {"sr0", false}, {"vda", false}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := List(fstest.MapFS{}); err == nil {
		t.Error("a missing sysfs was taken")
	}
}
