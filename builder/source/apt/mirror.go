package apt

import (
	"errors"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/source/control"
)

// ChooseMirror returns the archive's base URL for a suite: the definition's,
// else the override (a flag or an environment variable), else the one that the
// build host itself uses, whose root directory is host.
func ChooseMirror(definition, override, suite string, host fs.FS) (string, error) {
	for _, m := range []string{definition, override} {
		if m != "" {
			return m, checkMirror(m)
		}
	}
	return HostMirror(host, suite)
}

func checkMirror(mirror string) error {
	if mirror == "" {
		return fault.Inputf("choosing a mirror: none is configured").WithFix("set root.packages.mirror in the definition, or BOOTSMITH_DEBIAN_MIRROR")
	}
	u, err := url.Parse(mirror)
	if err != nil {
		return fault.Inputf("reading mirror %q: %w", mirror, err)
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return fault.Inputf("reading mirror %q: no host", mirror)
		}
	case "file":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return fault.Inputf("reading mirror %q: a file URL needs an absolute path and no host", mirror)
		}
	default:
		return fault.Inputf("reading mirror %q: the scheme must be http, https or file", mirror)
	}
	return nil
}

// HostMirror returns the base URL from which the host whose root directory is
// fsys gets the main archive of the suite's distribution: the first such
// source of /etc/apt/sources.list and /etc/apt/sources.list.d (*.list and
// *.sources, sources.list(5)), in the order in which apt reads them.
func HostMirror(fsys fs.FS, suite string) (string, error) {
	want := distributionOf(suite)
	found := ""
	for _, name := range sourceFiles(fsys) {
		sources, err := readSources(fsys, name)
		if err != nil {
			return "", fault.Inputf("reading %q: %w", "/"+name, err)
		}
		for _, s := range sources {
			if found == "" && s.isMain(want) {
				found = s.uri
			}
		}
	}
	if found == "" {
		return "", fault.Inputf("choosing a mirror for suite %q: none is configured, and the host has none in /etc/apt", suite).
			WithFix("set root.packages.mirror in the definition, or BOOTSMITH_DEBIAN_MIRROR")
	}
	return strings.TrimRight(found, "/"), nil
}

func sourceFiles(fsys fs.FS) []string {
	names := []string{"etc/apt/sources.list"}
	const dir = "etc/apt/sources.list.d"
	entries, err := fs.ReadDir(fsys, dir) // sorted
	if err != nil {
		return names
	}
	for _, e := range entries {
		if ext := path.Ext(e.Name()); ext == ".list" || ext == ".sources" {
			names = append(names, path.Join(dir, e.Name()))
		}
	}
	return names
}

// aptSource is one URI and suite of the host's apt configuration.
type aptSource struct{ uri, suite string }

// isMain tells whether the source is the main archive of a distribution, not
// its security archive or a third party's.
func (s aptSource) isMain(d distribution) bool {
	if checkMirror(s.uri) != nil || strings.Contains(s.suite, "/") ||
		strings.HasSuffix(s.suite, "-security") || distributionOf(s.suite).keyring != d.keyring {
		return false
	}
	return slices.Contains(d.folders, path.Base(strings.TrimRight(s.uri, "/")))
}

func readSources(fsys fs.FS, name string) ([]aptSource, error) {
	data, err := fs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if path.Ext(name) == ".sources" {
		return parseDeb822Sources(string(data))
	}
	return parseListSources(string(data)), nil
}

// parseListSources reads the one-line style: deb [options] uri suite component…
func parseListSources(text string) []aptSource {
	var all []aptSource
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind != "deb" {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if words := strings.Fields(rest); len(words) >= 3 {
			all = append(all, aptSource{words[0], words[1]})
		}
	}
	return all
}

// parseDeb822Sources reads the style of *.sources files.
func parseDeb822Sources(text string) ([]aptSource, error) {
	stanzas, err := control.ReadStanzas(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	var all []aptSource
	for _, s := range stanzas {
		enabled := strings.ToLower(s.Get("Enabled"))
		if enabled == "no" || enabled == "false" || !slices.Contains(strings.Fields(s.Get("Types")), "deb") {
			continue
		}
		for _, uri := range strings.Fields(s.Get("URIs")) {
			for _, suite := range strings.Fields(s.Get("Suites")) {
				all = append(all, aptSource{uri, suite})
			}
		}
	}
	return all, nil
}
