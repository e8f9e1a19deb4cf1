package families

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/arch"
	"github.com/powernode/bootsmith/builder/fault"
)

func TestIPXEGolden(t *testing.T) {
	for name, tc := range map[string]struct{ arch, base string }{
		"boot-amd64-relative.ipxe": {"amd64", ""},
		"boot-arm64-absolute.ipxe": {"arm64", "https://mirror.example.org:8443/images/a%20b/kernel-initrd/"},
	} {
		t.Run(name, func(t *testing.T) {
			in := testInput(t, tc.arch)
			in.BaseURL = tc.base
			_, dir := build(t, ipxe{}, in)
			got := string(readFile(t, dir, "boot.ipxe"))
			golden := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(readFile(t, golden)); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestIPXECommands checks the lines that matter, as iPXE would split them.
func TestIPXECommands(t *testing.T) {
	for _, a := range arch.All() {
		in := testInput(t, a.Name)
		script, err := renderIPXE(in)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(script, "#!ipxe\n") {
			t.Errorf("it begins with %q", script[:10])
		}
		var kernel string
		var initrds []string
		for line := range strings.Lines(script) {
			words := strings.Fields(line)
			switch {
			case len(words) > 0 && words[0] == "kernel":
				kernel = line
			case len(words) > 2 && words[0] == "initrd":
				initrds = append(initrds, words[2])
			}
		}
		if want := "initrd=" + strings.Join(initrds, " initrd=") + " " + in.Cmdline + " || goto failed\n"; !strings.HasSuffix(kernel, want) {
			t.Errorf("kernel line %q does not end with %q", kernel, want)
		}
		if strings.Join(initrds, " ") != "initramfs.cpio.zst root.cpio" {
			t.Errorf("initrds %q", initrds)
		}
	}
}

func TestIPXERefuses(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"space in URL":       func(in *Input) { in.BaseURL = "https://mirror.example.org/a b/" },
		"newline in URL":     func(in *Input) { in.BaseURL = "https://mirror.example.org/\nshell\n/" },
		"tab in URL":         func(in *Input) { in.BaseURL = "https://mirror.example.org/\t/" },
		"setting in URL":     func(in *Input) { in.BaseURL = "https://mirror.example.org/${net0/mac}/" },
		"no scheme":          func(in *Input) { in.BaseURL = "mirror.example.org/" },
		"script scheme":      func(in *Input) { in.BaseURL = "file:///etc/" },
		"no host":            func(in *Input) { in.BaseURL = "https:///images/" },
		"password":           func(in *Input) { in.BaseURL = "https://user:secret@mirror.example.org/" },
		"query":              func(in *Input) { in.BaseURL = "https://mirror.example.org/?x=/" },
		"empty query":        func(in *Input) { in.BaseURL = "https://mirror.example.org/?" },
		"fragment":           func(in *Input) { in.BaseURL = "https://mirror.example.org/#/" },
		"empty fragment":     func(in *Input) { in.BaseURL = "https://mirror.example.org/#" },
		"no slash":           func(in *Input) { in.BaseURL = "https://mirror.example.org/images" },
		"quote":              func(in *Input) { in.BaseURL = `https://mirror.example.org/"/` },
		"not ASCII":          func(in *Input) { in.BaseURL = "https://mirror.example.org/ü/" },
		"newline in cmdline": func(in *Input) { in.Cmdline += "\nshell" },
		"CR in cmdline":      func(in *Input) { in.Cmdline += "\rshell" },
		"or":                 func(in *Input) { in.Cmdline += " || shell" },
		"and":                func(in *Input) { in.Cmdline += " && shell" },
		"semicolon":          func(in *Input) { in.Cmdline += " ; shell" },
		"comment":            func(in *Input) { in.Cmdline += " #quiet" },
		"setting":            func(in *Input) { in.Cmdline += " ip=${ip}" },
		"continued":          func(in *Input) { in.Cmdline += ` \` },
		"spaces":             func(in *Input) { in.Cmdline += `  quiet` },
		"platform":           func(in *Input) { in.Platform = "a\nshell" },
		"kernel version":     func(in *Input) { in.KernelVersion = "6\nshell" },
		"digest":             func(in *Input) { in.RootDigest = "0\nshell" },
	} {
		t.Run(name, func(t *testing.T) {
			in := testInput(t, "amd64")
			change(&in)
			_, err := renderIPXE(in)
			wantFault(t, err, fault.Input, "rendering the iPXE script")
		})
	}
}
