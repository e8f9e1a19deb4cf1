package kernel

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/tree"
)

// world is a tree with a kernel and modules like those of a distribution's
// generic kernel.
func world(t *testing.T, builtin string) (*tree.Tree, *contents) {
	t.Helper()
	root, store := tree.New(0), newContents()
	dir := "usr/lib/modules/" + version + "/"
	vermagic := "vermagic=" + version + " SMP preempt mod_unload"
	store.put(t, root, "boot/vmlinuz-"+version, []byte("kernel"))
	store.put(t, root, dir+"modules.builtin", []byte(builtin))
	for name, m := range map[string][]byte{
		"kernel/fs/erofs/erofs.ko.xz":      packXZ(t, fakeModule(t, "depends=libcrc32c", "name=erofs", vermagic)),
		"kernel/lib/libcrc32c.ko.zst":      packZstd(t, fakeModule(t, "softdep=pre: crc32c absent post: unused", "depends=", vermagic)),
		"kernel/crypto/crc32c_generic.ko":  fakeModule(t, "alias=crypto-crc32c", "alias=crc32c", vermagic),
		"kernel/drivers/md/dm-verity.ko":   fakeModule(t, "depends=dm-mod,dm-bufio,reed_solomon", vermagic),
		"kernel/drivers/md/dm-bufio.ko":    fakeModule(t, "depends=dm-mod", vermagic),
		"kernel/drivers/md/dm-mod.ko":      fakeModule(t, "depends=", vermagic),
		"kernel/lib/rs/reed_solomon.ko":    fakeModule(t, vermagic),
		"kernel/sound/unused.ko.xz":        []byte("not even xz"),
		"kernel/drivers/broken.ko.xz":      []byte("not even xz"),
		"kernel/drivers/needs-more.ko":     fakeModule(t, "depends=missing_one", vermagic),
		"kernel/drivers/chicken.ko":        fakeModule(t, "depends=egg", vermagic),
		"kernel/drivers/egg.ko":            fakeModule(t, "depends=chicken", vermagic),
		"kernel/drivers/foreign.ko":        fakeModule(t, "vermagic=5.0 SMP"),
		"kernel/drivers/plain.ko":          fakeModule(t, "depends=dm-mod", vermagic),
		"updates/dkms/plain.ko":            fakeModule(t, "depends=", vermagic),
		"kernel/drivers/modules.softdep":   []byte("not a module"),
		"kernel/drivers/section-gone.ko":   fakeModule(t)[:64],
		"kernel/drivers/.ko":               []byte("no name"),
		"kernel/drivers/soft_self.ko":      fakeModule(t, "softdep=pre: soft_self", vermagic),
		"kernel/drivers/empty-modinfo.ko":  fakeModule(t, ""),
		"kernel/drivers/two_softdeps.ko":   fakeModule(t, "softdep=pre: dm-mod", "softdep=pre: reed_solomon post: egg", vermagic),
		"kernel/drivers/wrongly-packed.ko": packXZ(t, fakeModule(t, vermagic)),
	} {
		store.put(t, root, dir+name, m)
	}
	return root, store
}

func names(modules []Module) []string {
	var list []string
	for _, m := range modules {
		list = append(list, m.Name)
	}
	return list
}

func modulesOf(t *testing.T, builtin string, wanted Wanted) ([]Module, *contents, error) {
	t.Helper()
	root, store := world(t, builtin)
	k, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	modules, err := k.Modules(context.Background(), store, wanted)
	return modules, store, err
}

func TestModulesInLoadOrder(t *testing.T) {
	verity := []string{"dm_mod", "dm_bufio", "reed_solomon", "dm_verity"}
	for _, c := range []struct {
		name    string
		builtin string
		wanted  Wanted
		want    []string
	}{
		{"soft dependency on an algorithm", "", Wanted{Required: []string{"erofs"}}, []string{"crc32c_generic", "libcrc32c", "erofs"}},
		{"the algorithm is built in", "kernel/crypto/crc32c_generic.ko\n", Wanted{Required: []string{"erofs"}}, []string{"libcrc32c", "erofs"}},
		{"dependencies once", "", Wanted{Required: []string{"dm_mod", "dm_verity"}, Optional: []string{"dm-bufio"}}, verity},
		{"dashes and underscores", "", Wanted{Required: []string{"dm-verity"}}, verity},
		{"a dependency is built in", "kernel/drivers/md/dm-mod.ko", Wanted{Required: []string{"dm_verity"}}, verity[1:]},
		{"required and built in", "kernel/drivers/md/dm-verity.ko", Wanted{Required: []string{"dm_verity"}}, nil},
		{"optional and absent", "", Wanted{Optional: []string{"usb_storage", "reed_solomon"}}, []string{"reed_solomon"}},
		{"an update wins", "", Wanted{Required: []string{"plain"}}, []string{"plain"}},
		{"a soft cycle", "", Wanted{Required: []string{"soft_self"}}, []string{"soft_self"}},
		{"no modinfo entries", "", Wanted{Required: []string{"empty_modinfo"}}, []string{"empty_modinfo"}},
		{"several softdeps", "", Wanted{Required: []string{"two_softdeps"}}, []string{"dm_mod", "reed_solomon", "two_softdeps"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			modules, _, err := modulesOf(t, c.builtin, c.wanted)
			if err != nil {
				t.Fatal(err)
			}
			if got := names(modules); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestModulesReadOnlyWhatIsNeeded(t *testing.T) {
	modules, store, err := modulesOf(t, "", Wanted{Required: []string{"erofs"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(store.opened) != 4 { // three modules and modules.builtin
		t.Errorf("%d objects were opened", len(store.opened))
	}
	if want := "lib/modules/" + version + "/kernel/fs/erofs/erofs.ko.xz"; modules[2].Path != want {
		t.Errorf("path %q, want %q", modules[2].Path, want)
	}
	if got := int64(len(store.data[modules[2].Content.SHA256])); got != modules[2].Size {
		t.Errorf("size %d, want %d", modules[2].Size, got)
	}
}

func TestModulesErrors(t *testing.T) {
	for name, want := range map[string]string{
		"missing":        `finding module "missing": kernel "6.12.0-test" has no module of that name`,
		"needs_more":     `finding module "missing_one", which "needs_more" depends on`,
		"broken":         `reading module "kernel/drivers/broken.ko.xz": decompressing`,
		"foreign":        `was built for kernel "5.0", not for "6.12.0-test"`,
		"section_gone":   `reading module "kernel/drivers/section-gone.ko": parsing ELF`,
		"wrongly_packed": `parsing ELF`,
	} {
		_, _, err := modulesOf(t, "", Wanted{Required: []string{name}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, want)
		}
		if fault.ClassOf(err) != fault.Input {
			t.Errorf("%s: class %v", name, fault.ClassOf(err))
		}
	}
	if _, _, err := modulesOf(t, "", Wanted{Optional: []string{"egg"}}); !errors.Is(err, errCycle) {
		t.Errorf("cycle: %v", err)
	}
}

func TestModulesStopWithContext(t *testing.T) {
	root, store := world(t, "")
	k, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := k.Modules(ctx, store, Wanted{Required: []string{"erofs"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDefaultModulesAreListedOnce(t *testing.T) {
	seen := map[string]bool{}
	wanted := DefaultModules()
	for _, name := range slices.Concat(wanted.Required, wanted.Optional) {
		if name != canonical(name) || seen[name] {
			t.Errorf("%q is not canonical or is listed twice", name)
		}
		seen[name] = true
	}
}

func FuzzParseModule(f *testing.F) {
	f.Add(fakeModule(f, "depends=a,b", "softdep=pre: c post: d", "vermagic=6.1 SMP"))
	f.Add(fakeModule(f)[:64])
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := parseModule(data)
		if err != nil {
			return
		}
		for _, name := range slices.Concat(info.depends(), info.softdeps()) {
			if strings.ContainsAny(name, "-\x00") {
				t.Errorf("name %q is not canonical", name)
			}
		}
		info.kernelVersion()
	})
}
