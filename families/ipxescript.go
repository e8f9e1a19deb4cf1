package families

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/powernode/bootsmith/arch"
)

// Prove implements Prover. The script holds no root: it is proven by the files
// of kernel-initrd that it loads, where they lie beside it.
func (ipxe) Prove(ctx context.Context, dir string, a arch.Arch) (Proof, error) {
	text, err := readText(dir, ipxeFile)
	if err != nil {
		return Proof{}, err
	}
	script, err := parseIPXE(text)
	if err != nil {
		return Proof{}, fmt.Errorf("reading %s: %w", ipxeFile, err)
	}
	p := script.args.proof()
	p.note("kernel command in %s", ipxeFile)
	files := filepath.Join(dir, "..", kernelInitrd{}.Name())
	if _, err := os.Stat(files); errors.Is(err, fs.ErrNotExist) {
		p.note("the files that it loads are not here")
		return p, nil
	}
	if err := script.checkFiles(ctx, files); err != nil {
		return Proof{}, fmt.Errorf("reading what %s loads: %w", ipxeFile, err)
	}
	p.note("the files that it loads, in %s", kernelInitrd{}.Name())
	return p, nil
}

// loadedScript is what an iPXE script says that it boots.
type loadedScript struct {
	args   rootArgs
	kernel string   // file names, without the folder
	initrd []string // in order
	sums   map[string]string
}

// sumComment is a comment that gives a file's SHA-256 digest.
var sumComment = regexp.MustCompile(`^# SHA-256 of (\S+) +([0-9a-f]{64})$`)

// parseIPXE reads a script as renderIPXE writes it: one kernel command, and an
// initrd command for each archive.
func parseIPXE(text string) (loadedScript, error) {
	s := loadedScript{sums: map[string]string{}}
	var cmdline string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := sumComment.FindStringSubmatch(line); m != nil {
			s.sums[m[1]] = m[2]
		}
		command, rest, _ := strings.Cut(line, " ")
		file, args := cutLoad(rest)
		switch {
		case command == "kernel" && s.kernel != "":
			return s, errors.New("it loads two kernels")
		case command == "kernel":
			s.kernel, cmdline = file, args
		case command == "initrd":
			s.initrd = append(s.initrd, file)
		}
	}
	if s.kernel == "" || len(s.initrd) == 0 {
		return s, errors.New("it does not load a kernel and an initrd")
	}
	var err error
	s.args, err = parseRootArgs(cmdline)
	return s, err
}

// cutLoad returns the name of the file that a kernel or initrd command loads,
// and the arguments behind it.
func cutLoad(rest string) (file, args string) {
	rest, _, _ = strings.Cut(rest, " || ")
	if after, ok := strings.CutPrefix(rest, "--name "); ok {
		_, rest, _ = strings.Cut(after, " ")
	}
	url, args, _ := strings.Cut(rest, " ")
	return path.Base(strings.ReplaceAll(url, "${base}", "")), args
}

// checkFiles compares the files with what the script says of them, and the root
// image that they bring with its command line.
func (s loadedScript) checkFiles(ctx context.Context, dir string) error {
	for _, name := range append([]string{s.kernel}, s.initrd...) {
		if err := checkSum(ctx, dir, name, s.sums[name]); err != nil {
			return err
		}
	}
	return checkRootArchive(ctx, s.args, dir)
}

// checkSum compares a file's SHA-256 digest, if there is one to compare with.
// The file must be there in any case.
func checkSum(ctx context.Context, dir, name, want string) error {
	f, err := openFile(dir, filepath.FromSlash(name))
	if err != nil {
		return err
	}
	defer f.Close()
	if want == "" {
		return nil
	}
	sum := sha256.New()
	if err := copyContext(ctx, sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("%s has the SHA-256 digest %s, the script says %s", name, got, want)
	}
	return nil
}
