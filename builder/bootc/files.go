package bootc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/powernode/bootsmith/builder/tree"
)

// maxFile bounds the files that rules read, in bytes.
const maxFile = 1 << 20

// read returns the content of a file; ok is false when there is none. Links are
// followed.
func (img Image) read(name string) (data []byte, ok bool, err error) {
	n, err := img.Tree.Resolve(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	data, err = img.readNode(n)
	return data, true, err
}

func (img Image) readNode(n *tree.Node) ([]byte, error) {
	if !n.Inode.IsRegular() || n.Inode.Size > maxFile {
		return nil, fmt.Errorf("reading /%s: it is not a regular file of at most %d bytes", img.Tree.PathOf(n), maxFile)
	}
	r, err := img.Open(n.Inode.Content)
	if err != nil {
		return nil, fmt.Errorf("reading /%s: %w", img.Tree.PathOf(n), err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxFile))
	if err != nil {
		return nil, fmt.Errorf("reading /%s: %w", img.Tree.PathOf(n), err)
	}
	return data, nil
}

// eachFile calls fn with the files of a directory that have the extension, in
// the order of their names; links are followed.
func (img Image) eachFile(dir, extension string, fn func(name string, data []byte) error) error {
	d, err := img.dir(dir)
	if err != nil || d == nil {
		return err
	}
	for _, n := range d.Children() {
		if path.Ext(n.Name) != extension {
			continue
		}
		data, ok, err := img.read(path.Join(dir, n.Name))
		if err != nil {
			return err
		}
		if !ok {
			continue // a link to nowhere
		}
		if err := fn(n.Name, data); err != nil {
			return err
		}
	}
	return nil
}

// configLines returns the lines that are neither empty nor comments.
func configLines(data []byte) []string {
	var lines []string
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, maxFile+1)
	for scanner.Scan() {
		line := strings.TrimSpace(scanner.Text())
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// prepareRoot is the configuration of ostree's part of the initramfs, below /etc
// or /usr/lib.
const prepareRoot = "ostree/prepare-root.conf"

func checkComposefs(img Image) ([]string, error) { return img.eachBase(img.checkPrepareRoot) }

// checkPrepareRoot checks the root at a prefix.
func (img Image) checkPrepareRoot(prefix string) ([]string, error) {
	for _, dir := range []string{"etc/", "usr/lib/"} {
		data, ok, err := img.read(prefix + dir + prepareRoot)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if composefsEnabled(data) {
			return nil, nil
		}
		return []string{"/" + prefix + dir + prepareRoot + " does not enable composefs"}, nil
	}
	return []string{"there is neither /" + prefix + "etc/" + prepareRoot + " nor /" + prefix + "usr/lib/" + prepareRoot}, nil
}

// composefsEnabled reads a key file (Desktop Entry Specification, "Basic format
// of the file"): groups in brackets, then keys with values.
func composefsEnabled(data []byte) bool {
	group := ""
	values := map[string]string{}
	for _, line := range configLines(data) {
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			group = line[1 : len(line)-1]
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		values[group+"."+strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	switch values["composefs.enabled"] {
	case "yes", "true", "1", "maybe", "signed", "verity":
		return true
	}
	return values["root.transient"] == "true" || values["root.transient"] == "1"
}
