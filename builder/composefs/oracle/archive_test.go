package oracle

import (
	"slices"
	"strings"
	"testing"
)

func TestFirstMirror(t *testing.T) {
	for data, want := range map[string]string{
		"Types: deb\nURIs: http://mirror.example.org/debian\nSuites: x\n":                                "http://mirror.example.org/debian",
		"deb [signed-by=/k.gpg] https://mirror.example.org/debian/ trixie main\n":                        "https://mirror.example.org/debian",
		"URIs: http://mirror.example.org/debian-security http://b.example.org/debian":                    "http://b.example.org/debian",
		"# deb http://mirror.example.org/debian trixie main\ndeb-src http://mirror.example.org/debian x": "",
		"": "",
	} {
		if got := firstMirror([]byte(data)); got != want {
			t.Errorf("%q: got %q, want %q", data, got, want)
		}
	}
}

func TestMirrorFromTheEnvironment(t *testing.T) {
	t.Setenv("BOOTSMITH_DEBIAN_MIRROR", "http://mirror.example.org/debian/")
	if got, err := mirror(); err != nil || got != "http://mirror.example.org/debian" {
		t.Errorf("%q, %v", got, err)
	}
}

const testIndex = `Package: composefs
Depends: libc6 (>= 2.38), libcomposefs1 (= 1.0.8), fuse3 | other, missing1
Filename: pool/c.deb
SHA256: 01

Package: libcomposefs1
Depends: libc6, libssl3t64:any (>= 3)
Filename: pool/lc.deb
SHA256: 02

Package: libssl3t64
Depends: zlib1g
Filename: pool/ssl.deb

Package: libc6
Filename: pool/libc.deb

Package: fuse3
Filename: pool/fuse.deb

Package: zlib1g
Filename: pool/z.deb
`

func TestClosure(t *testing.T) {
	index, err := parseIndex(strings.NewReader(testIndex))
	if err != nil || index["composefs"].sum != "01" || index["libcomposefs1"].filename != "pool/lc.deb" {
		t.Fatalf("%+v, %v", index, err)
	}
	want := []string{"composefs", "libc6", "libcomposefs1", "libssl3t64", "zlib1g"}
	if got := closure(index, "composefs"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestListedSum(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	release := "MD5Sum:\n " + sum[:32] + " 5 main/x\nSHA256:\n " + sum + " 5 main/x\n"
	if got := listedSum([]byte(release), "main/x"); got != sum {
		t.Errorf("got %q", got)
	}
	if got := listedSum([]byte(release), "main/y"); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestUnsignedRelease(t *testing.T) {
	if _, err := verified([]byte("Suite: sid\n")); err == nil {
		t.Error("it was taken")
	}
}
