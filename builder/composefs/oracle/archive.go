package oracle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ulikunitz/xz"
)

// maxFetch bounds what is read from the archive, in bytes.
const maxFetch = 256 << 20

// keyring is where Debian's package debian-archive-keyring puts the keys.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// pkg is a stanza of a Packages index: the fields that are needed.
type pkg struct{ name, depends, filename, sum string }

// fetch unpacks composefs and the libraries it depends on into dir.
func fetch(ctx context.Context, dir string) error {
	base, err := mirror()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "dpkg", "--print-architecture").Output()
	if err != nil {
		return fmt.Errorf("running dpkg: %w", err)
	}
	index, err := packages(ctx, base, strings.TrimSpace(string(out)))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "fetch")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, name := range closure(index, "composefs") {
		if err := unpack(ctx, base, index[name], tmp); err != nil {
			return err
		}
	}
	// Another test may have been faster; its folder is as good.
	if err := os.Rename(tmp, dir); err != nil {
		if _, openErr := open(dir); openErr == nil {
			return nil
		}
		return err
	}
	return os.Chmod(dir, 0o755)
}

// mirror returns the archive's base URL.
func mirror() (string, error) {
	if base := os.Getenv("BOOTSMITH_DEBIAN_MIRROR"); base != "" {
		return strings.TrimSuffix(base, "/"), nil
	}
	names, err := filepath.Glob("/etc/apt/sources.list.d/*")
	if err != nil {
		return "", err
	}
	for _, name := range append(names, "/etc/apt/sources.list") {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if base := firstMirror(data); base != "" {
			return base, nil
		}
	}
	return "", errors.New("no Debian archive in the apt sources; set BOOTSMITH_DEBIAN_MIRROR")
}

// firstMirror returns the first base URL in an apt sources file of either
// format that ends in "/debian".
func firstMirror(data []byte) string {
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "URIs:" && fields[0] != "deb" {
			continue
		}
		for _, f := range fields[1:] {
			f = strings.TrimSuffix(f, "/")
			if strings.Contains(f, "://") && strings.HasSuffix(f, "/debian") {
				return f
			}
		}
	}
	return ""
}

// packages returns the index of the suite, checked against its signed release.
func packages(ctx context.Context, base, arch string) (map[string]pkg, error) {
	release, err := get(ctx, base+"/dists/"+suite+"/InRelease")
	if err != nil {
		return nil, err
	}
	text, err := verified(release)
	if err != nil {
		return nil, fmt.Errorf("checking the release file of %s: %w", suite, err)
	}
	name := "main/binary-" + arch + "/Packages.xz"
	sum := listedSum(text, name)
	if sum == "" {
		return nil, fmt.Errorf("the release file of %s doesn't list %q", suite, name)
	}
	data, err := getSum(ctx, base+"/dists/"+suite+"/main/binary-"+arch+"/by-hash/SHA256/"+sum, sum)
	if err != nil {
		return nil, err
	}
	r, err := xz.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpacking the package index: %w", err)
	}
	return parseIndex(r)
}

// verified returns the text of a clear-signed release file.
func verified(release []byte) ([]byte, error) {
	f, err := os.Open(keyring)
	if err != nil {
		return nil, fmt.Errorf("%w; install the Debian package debian-archive-keyring", err)
	}
	defer f.Close()
	keys, err := openpgp.ReadKeyRing(f)
	if err != nil {
		return nil, err
	}
	block, _ := clearsign.Decode(release)
	if block == nil {
		return nil, errors.New("it isn't signed")
	}
	_, err = openpgp.CheckDetachedSignature(keys, bytes.NewReader(block.Bytes), block.ArmoredSignature.Body, nil)
	return block.Plaintext, err
}

// listedSum returns the SHA-256 of a file that a release file lists.
func listedSum(release []byte, name string) string {
	for line := range strings.Lines(string(release)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[2] == name && len(f[0]) == 2*sha256.Size {
			return f[0]
		}
	}
	return ""
}

func parseIndex(r io.Reader) (map[string]pkg, error) {
	index := map[string]pkg{}
	var p pkg
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "":
			index[p.name], p = p, pkg{}
		case "Package":
			p.name = value
		case "Depends":
			p.depends = value
		case "Filename":
			p.filename = value
		case "SHA256":
			p.sum = value
		}
	}
	index[p.name] = p
	return index, lines.Err()
}

// closure returns the package and all the libraries it depends on.
func closure(index map[string]pkg, name string) []string {
	names, seen := []string{name}, map[string]bool{name: true}
	for i := 0; i < len(names); i++ {
		for dep := range strings.SplitSeq(index[names[i]].depends, ",") {
			dep, _, _ = strings.Cut(dep, "|")
			fields := strings.FieldsFunc(dep, func(r rune) bool { return r == ' ' || r == '(' || r == ':' })
			if len(fields) == 0 || seen[fields[0]] || index[fields[0]].filename == "" {
				continue
			}
			if d := fields[0]; strings.HasPrefix(d, "lib") || strings.HasPrefix(d, "zlib") {
				seen[d] = true
				names = append(names, d)
			}
		}
	}
	return names
}

// unpack fetches a package and unpacks its files.
func unpack(ctx context.Context, base string, p pkg, dir string) error {
	if p.filename == "" {
		return errors.New("the archive doesn't have it")
	}
	data, err := getSum(ctx, base+"/"+p.filename, p.sum)
	if err != nil {
		return err
	}
	deb := filepath.Join(dir, p.name+".deb")
	if err := os.WriteFile(deb, data, 0o644); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("unpacking %s: %w: %s", p.name, err, out)
	}
	return os.Remove(deb)
}

func getSum(ctx context.Context, url, sum string) ([]byte, error) {
	data, err := get(ctx, url)
	if err != nil {
		return nil, err
	}
	if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != sum {
		return nil, fmt.Errorf("fetching %q: its SHA-256 is %x, want %s", url, got, sum)
	}
	return data, nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching %q: %s", url, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFetch+1))
	if err == nil && len(data) > maxFetch {
		err = errors.New("it is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("fetching %q: %w", url, err)
	}
	return data, nil
}
