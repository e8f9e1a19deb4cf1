package families

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"text/template"

	"github.com/powernode/bootsmith/builder/fault"
)

// ipxe is a script for the network boot loader iPXE that loads the files of the
// family kernel-initrd.
type ipxe struct{}

const ipxeFile = "boot.ipxe"

// Name implements Family.
func (ipxe) Name() string { return "ipxe" }

// Parts implements Selective: the script names the digests of the files that it
// loads.
func (ipxe) Parts() []Part { return []Part{PartKernel, PartInitramfs, PartRootImage, PartBaseURL} }

// Build implements Family.
func (ipxe) Build(_ context.Context, in Input, out *Sink) error {
	script, err := renderIPXE(in)
	if err != nil {
		return err
	}
	out.SetMain(ipxeFile)
	return out.write(ipxeFile, mediaIPXE, func(f *File) error {
		_, err := f.Write([]byte(script))
		return err
	})
}

//go:embed boot.ipxe.tmpl
var ipxeTemplate string

// ipxeScript is what the template shows.
type ipxeScript struct {
	Input
	Base                         string
	KernelFile, Initrd, RootCPIO string
}

func renderIPXE(in Input) (string, error) {
	script := ipxeScript{Input: in, Base: in.BaseURL, KernelFile: kernelFile, Initrd: initramfsFile, RootCPIO: rootCPIOFile}
	if script.Base == "" {
		script.Base = "../" + kernelInitrd{}.Name() + "/"
	} else if err := checkBaseURL(script.Base); err != nil {
		return "", fault.Inputf("rendering the iPXE script: base URL %q: %w", script.Base, err)
	}
	for _, c := range []struct{ what, text string }{
		{"kernel command line", in.Cmdline},
		{"platform", in.Platform},
		{"kernel version", in.KernelVersion},
		{"root digest", in.RootDigest},
		{"root hash", in.RootHash},
	} {
		if err := checkWords(c.text); err != nil {
			return "", fault.Inputf("rendering the iPXE script: %s %q: %w", c.what, c.text, err)
		}
	}
	t, err := template.New(ipxeFile).Option("missingkey=error").Parse(ipxeTemplate)
	if err != nil {
		return "", fmt.Errorf("rendering the iPXE script: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, script); err != nil {
		return "", fmt.Errorf("rendering the iPXE script: %w", err)
	}
	return b.String(), nil
}

// checkWords refuses text that iPXE would not pass on as it stands. Its shell
// (src/core/exec.c) knows no quoting: it splits at white space, ends a command
// at the words "||", "&&" and ";", takes a word that begins with "#" for a
// comment, expands "${…}" everywhere, and continues a line that ends with a
// backslash (src/image/script.c).
func checkWords(text string) error {
	if text != strings.Join(strings.Fields(text), " ") {
		return errors.New("it has white space other than single spaces between words")
	}
	for _, r := range text {
		if r < ' ' || r > '~' {
			return fmt.Errorf("the character %q is not printable ASCII", r)
		}
	}
	for word := range strings.FieldsSeq(text) {
		if word == "||" || word == "&&" || word == ";" || word[0] == '#' {
			return fmt.Errorf("iPXE ends a command at the word %q", word)
		}
	}
	if strings.Contains(text, "${") {
		return errors.New("iPXE expands what begins with \"${\"")
	}
	if strings.HasSuffix(text, `\`) {
		return errors.New("iPXE joins a line that ends with a backslash with the next one")
	}
	return nil
}

// checkBaseURL accepts the URL of a folder that iPXE can load from.
func checkBaseURL(base string) error {
	if err := checkWords(base); err != nil {
		return err
	}
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	switch u.Scheme {
	case "http", "https", "tftp":
	default:
		return errors.New("iPXE loads from http, https and tftp only")
	}
	switch {
	case u.Host == "":
		return errors.New("it has no host")
	case u.User != nil:
		return errors.New("the script is public and must not hold a user name or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(base, "#"):
		return errors.New("it has a query or a fragment")
	case !strings.HasSuffix(u.Path, "/"):
		return errors.New("it must end with a slash, because file names are appended to it")
	case strings.ContainsAny(base, " \"<>\\^`{|}$"):
		return errors.New("it has a character that must be percent-encoded")
	}
	return nil
}
