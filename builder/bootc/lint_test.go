package bootc

import (
	"bytes"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/builder/tree"
)

// dir, link and anything else, a file's content, say what a path is.
const (
	dir  = "\x00dir"
	link = "\x00link "
)

// good is a root that keeps all rules.
func good() map[string]string {
	return map[string]string{
		"dev": dir, "proc": dir, "sys": dir, "run": dir, "tmp": dir, "var": dir, "boot": dir, "sysroot": dir,
		"ostree":                           link + "sysroot/ostree",
		"usr/lib/ostree/prepare-root.conf": "[composefs]\nenabled = true\n",
		"usr/lib/modules/6.12/vmlinuz":     "kernel",
		"usr/lib/modules/6.13/modules.dep": "no kernel",
		"usr/lib/bootc/kargs.d/10.toml":    "# comment\nkargs = [\"quiet\", 'a=\"b\"',\n  \"\\u00e9\", # more\n]\nmatch-architectures = [\"x86_64\"]\n",
		"usr/lib/bootc/kargs.d/README":     "no TOML",
		"etc/hostname":                     "host\n",
		"etc/passwd":                       "# accounts\nroot:x:0:0:root:/root:/bin/sh\nservice:x:9:9::/:/bin/false\n+::::::\n",
		"etc/group":                        "root:x:0:\nservice:x:9:\nother:x:10:\n",
		"usr/lib/sysusers.d/all.conf":      "u root 0 \"Super User\" /root\nu! service 9\n# comment\ng other 10\nm root other\n",
		"usr/lib/tmpfiles.d/all.conf":      "d /var/lib 0755 root root -\nL+ /var/run - - - - ../run\nd \"/var/lib/a b\" - - - -\nd /var/lib/c\\x20d\nd /alias/e - - - -\nd /var/log\nf /var/log/empty\nd /nowhere/x\n",
		"etc/tmpfiles.d/more.conf":         "d /var/more\n",
		"alias":                            link + "var/lib",
		"var/run":                          link + "../run",
		"var/lib/a b":                      dir, "var/lib/c d": dir, "var/lib/e": dir, "var/more": dir, "var/log/empty": "",
		"boot/EFI/Linux/6.12.efi": "program",
	}
}

// image makes a tree of paths; "" as the path of content removes it.
func image(t testing.TB, files map[string]string, remove ...string) Image {
	t.Helper()
	root := tree.New(0)
	contents := map[tree.Digest][]byte{}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		inode := &tree.Inode{Mode: tree.TypeRegular | 0o644}
		switch data := files[name]; {
		case data == dir:
			inode.Mode = tree.TypeDir | 0o755
		case strings.HasPrefix(data, link):
			inode.Mode, inode.Target = tree.TypeSymlink|0o777, data[len(link):]
		default:
			inode.Size, inode.Content.Verity = int64(len(data)), tree.Digest{byte(i), 1}
			contents[inode.Content.Verity] = []byte(data)
		}
		if err := root.Put(name, inode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range remove {
		if err := root.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	return Image{Tree: root, Open: func(c tree.Content) (io.ReadCloser, error) {
		data, ok := contents[c.Verity]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

func TestGood(t *testing.T) {
	findings, err := Lint(image(t, good()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 14 {
		t.Errorf("%d rules", len(findings))
	}
	for _, f := range findings {
		if len(f.Problems) > 0 || f.Skipped {
			t.Errorf("%+v", f)
		}
	}
}

// TestBad breaks every rule, some in several ways. No other rule may find
// anything then.
func TestBad(t *testing.T) {
	seen := map[string]bool{}
	for _, tc := range []struct {
		rule   string
		put    map[string]string
		remove []string
		want   string
	}{
		{"api-base-directories", nil, []string{"proc"}, "/proc is missing"},
		{"api-base-directories", map[string]string{"sys": "file"}, nil, "/sys is not a directory"},
		{"api-base-directories", map[string]string{"tmp": link + "var/more"}, nil, "/tmp is not a directory"},
		{"baseimage-composefs", nil, []string{"usr/lib/ostree/prepare-root.conf"}, "neither"},
		{"baseimage-composefs", map[string]string{"usr/lib/ostree/prepare-root.conf": "[composefs]\nenabled = no\n[other]\nenabled = yes\n"}, nil, "does not enable"},
		{"baseimage-composefs", map[string]string{"etc/ostree/prepare-root.conf": "# nothing\n"}, nil, "/etc/ostree"},
		{"baseimage-composefs", map[string]string{baseDir + "/sysroot": dir, baseDir + "/ostree": link + "sysroot/ostree"}, nil, "baseimage/base/etc"},
		{"baseimage-root", nil, []string{"sysroot"}, "/sysroot is not a directory"},
		{"baseimage-root", map[string]string{"ostree": link + "/sysroot/ostree"}, nil, "/ostree is not"},
		{"baseimage-root", map[string]string{"ostree": dir}, nil, "/ostree is not"},
		{"baseimage-root", map[string]string{baseDir + "/usr/lib/ostree/prepare-root.conf": "[composefs]\nenabled=maybe\n"}, nil, "baseimage/base/sysroot"},
		{"bootc-kargs", map[string]string{"usr/lib/bootc/kargs.d/20.toml": "kargs = [1]"}, nil, "20.toml: reading the field"},
		{"buildah-injected", map[string]string{"etc/resolv.conf": ""}, nil, "/etc/resolv.conf is empty"},
		{"etc-usretc", map[string]string{"usr/etc": dir}, nil, "/usr/etc"},
		{"kernel", map[string]string{"usr/lib/modules/6.13/vmlinuz": "second"}, nil, "6.12, 6.13"},
		{"nonempty-boot", map[string]string{"boot/vmlinuz": "kernel"}, nil, "/boot/vmlinuz"},
		{"nonempty-boot", nil, []string{"boot"}, "/boot is missing"},
		{"nonempty-run-tmp", map[string]string{"run/lock": dir}, nil, "/run/lock"},
		{"nonempty-run-tmp", map[string]string{"tmp/file": "x"}, nil, "/tmp/file"},
		{"sysusers", map[string]string{"etc/passwd": "root:x:0:0::/:\nadmin:x:1:1::/:\n"}, nil, "the user admin"},
		{"sysusers", map[string]string{"etc/group": "wheel:x:1:\n"}, nil, "the group wheel"},
		{"utf8", map[string]string{"usr/\xff": "x"}, nil, `"/usr/\xff"`},
		{"utf8", map[string]string{"usr/link": link + "\xfe"}, nil, `the target "\xfe"`},
		{"var-log", map[string]string{"var/log/empty": "one line"}, nil, "/var/log/empty"},
		{"var-run", map[string]string{"var/run": dir}, nil, "/var/run"},
		{"var-tmpfiles", map[string]string{"var/lib/dpkg/status": "x"}, nil, "/var/lib/dpkg"},
		{"var-tmpfiles", map[string]string{"var/lib/file": "x"}, nil, "/var/lib/file"},
	} {
		seen[tc.rule] = true
		files := good()
		for name, data := range tc.put {
			files[name] = data
		}
		findings, err := Lint(image(t, files, tc.remove...), nil)
		if err != nil {
			t.Errorf("%s: %v", tc.rule, err)
		}
		for _, f := range findings {
			all := strings.Join(f.Problems, "; ")
			if f.Rule != tc.rule && all != "" || f.Rule == tc.rule && !strings.Contains(all, tc.want) {
				t.Errorf("%s: %s finds %q, want %q", tc.rule, f.Rule, all, tc.want)
			}
		}
		skipped, err := Lint(image(t, files, tc.remove...), []string{tc.rule})
		if err != nil || slices.ContainsFunc(skipped, func(f Finding) bool { return len(f.Problems) > 0 }) {
			t.Errorf("%s is not skipped: %v, %v", tc.rule, skipped, err)
		}
	}
	for _, name := range Names() {
		if !seen[name] {
			t.Errorf("%s is not tested", name)
		}
	}
	if _, err := Lint(image(t, good()), []string{"no-such-rule"}); err == nil || !strings.Contains(err.Error(), "known are api-base-directories, ") {
		t.Errorf("%v", err)
	}
}

// TestIgnored is about what bootc tolerates.
func TestIgnored(t *testing.T) {
	files := map[string]string{"run/systemd/resolve/stub-resolv.conf": "x", "dev/null2": "", "usr/lib/tmpfiles.d/gone.conf": link + "nowhere"}
	for name, data := range good() {
		files[name] = data
	}
	findings, err := Lint(image(t, files), nil)
	if err != nil || slices.ContainsFunc(findings, func(f Finding) bool { return len(f.Problems) > 0 }) {
		t.Errorf("%+v, %v", findings, err)
	}
	// Almost nothing: the rules are about what is there.
	findings, err = Lint(image(t, map[string]string{"usr": dir}), nil)
	if err != nil {
		t.Fatal(err)
	}
	var broken []string
	for _, f := range findings {
		if len(f.Problems) > 0 {
			broken = append(broken, f.Rule)
		}
	}
	if got := strings.Join(broken, " "); got != "api-base-directories baseimage-composefs baseimage-root nonempty-boot" {
		t.Error(got)
	}
}

func TestReads(t *testing.T) {
	for name := range good() {
		want := strings.HasSuffix(name, ".conf") || strings.HasSuffix(name, ".toml") || name == "etc/passwd" || name == "etc/group"
		if got := Reads(name); got != want && !strings.HasSuffix(name, "README") {
			t.Errorf("Reads(%q) = %t", name, got)
		}
	}
}

func TestParseKargs(t *testing.T) {
	for text, want := range map[string]string{
		`kargs = []`:                "",
		"kargs=[\"a\",'b\\n',]\r\n": `a|b\n`,
		"\n# x\n\"kargs\" = [ # y\n\"a\" # z\n , \"b\" ]": "a|b",
		`kargs = ["\t\"\\\U0001F600 c"]`:                  "\t\"\\😀 c",
		"match-architectures = []\nkargs = [\"x=y\"]":     "x=y",
	} {
		k, err := parseKargs(text)
		if err != nil || strings.Join(k.Kargs, "|") != want {
			t.Errorf("%q: %q, %v", text, k.Kargs, err)
		}
	}
	for _, text := range []string{
		"", "kargs", "kargs =", "kargs = x", "kargs = [", `kargs = ["a"`, `kargs = ["a" "b"]`, `kargs = ["a]`, `kargs = ["a", 1]`, `kargs = [["a"]]`,
		"kargs = []\nkargs = []", "kargs = [] kargs = []", "[table]\nkargs = []", "other = []\nkargs = []", "kargs = [\"\"\"a\"\"\"]", "kargs = [\"a\nb\"]",
		`kargs = ["\x"]`, `kargs = ["\u12"]`, `kargs = ["\uD800"]`, "kargs = [\"\x01\"]", "kargs = [\"\xff\"]", "= []", `kargs = ["\`,
	} {
		if k, err := parseKargs(text); err == nil {
			t.Errorf("%q is accepted as %+v", text, k)
		}
	}
}

func FuzzParseKargs(f *testing.F) {
	f.Add("kargs = [\"quiet\", 'x', \"\\u00e9\"] # comment\nmatch-architectures = [\"x86_64\"]\n")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseKargs(text)
		if err == nil && len(strings.Join(k.Kargs, "")) > len(text) {
			t.Errorf("%q of %q", k.Kargs, text)
		}
	})
}

func FuzzConfigFields(f *testing.F) {
	f.Add(`d "/var/a b" 0755 root root - \x20 'x\'y`)
	f.Fuzz(func(t *testing.T, line string) {
		if n := len(strings.Join(configFields(line), "")); n > len(line) {
			t.Errorf("%d bytes of %q", n, line)
		}
	})
}
