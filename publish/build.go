package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/manifest"
)

// Build names what is to be published.
type Build struct {
	// Dir is the output folder of a build, with one folder per architecture.
	Dir string
	// Arches limits the architectures; empty means all that were built.
	Arches []string
}

// archBuild is build/<arch>/.
type archBuild struct {
	dir      string
	manifest *manifest.Manifest
	sha256   string // of build-manifest.json, hex

	spdx, cyclonedx json.RawMessage
}

// artifact is one family of one architecture.
type artifact struct {
	build  *archBuild
	family manifest.Family
	// main stands for the family in the webhook: its main file, or for an image
	// the image's manifest.
	main  manifest.File
	files []file // what the manifest names; for an image its blobs
	image packed // of the oci family
}

// file is a file of an artifact: a layer of its manifest, or for an image a
// blob.
type file struct {
	title     string // what it is called when pulled
	path      string // on disk
	mediaType string
	sha256    string // hex
	size      int64  // bytes
}

func (a *artifact) String() string {
	return a.build.manifest.Platform + " " + a.build.manifest.Arch + " " + a.family.Name
}

// tag returns the artifact's name in the registry.
func (a *artifact) tag() string {
	m := a.build.manifest
	return artifactTag(m.GitSHA, m.Arch, a.family.Name)
}

func artifactTag(revision, arch, family string) string {
	return revision + "-" + arch + "-" + family
}

// tagPattern is the OCI distribution specification's grammar of tags.
var tagPattern = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\z`)

// load reads the manifests of a build and lists its artifacts, architectures in
// alphabetical order, families in build order.
func load(ctx context.Context, b Build) ([]*archBuild, []*artifact, error) {
	names := b.Arches
	if len(names) == 0 {
		var err error
		if names, err = archFolders(b.Dir); err != nil {
			return nil, nil, err
		}
	}
	var builds []*archBuild
	var arts []*artifact
	for _, name := range names {
		ab, err := loadArch(ctx, filepath.Join(b.Dir, name))
		if err != nil {
			return nil, nil, err
		}
		builds = append(builds, ab)
		more, err := ab.artifacts()
		if err != nil {
			return nil, nil, err
		}
		arts = append(arts, more...)
	}
	return builds, arts, sameBuild(builds)
}

func archFolders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fault.Inputf("reading the build folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		_, err := os.Stat(filepath.Join(dir, e.Name(), manifest.FileName))
		switch {
		case err == nil:
			names = append(names, e.Name())
		case !errors.Is(err, fs.ErrNotExist) && e.IsDir():
			return nil, fault.Inputf("reading the build folder: %w", err)
		}
	}
	if len(names) == 0 {
		return nil, fault.Inputf("looking for %s below %q: there is none", manifest.FileName, dir).WithFix("build the platform first")
	}
	return names, nil
}

func loadArch(ctx context.Context, dir string) (*archBuild, error) {
	m, err := manifest.Read(dir)
	if err != nil {
		return nil, fault.Default(fault.Input, err)
	}
	sum, err := hashFile(ctx, filepath.Join(dir, manifest.FileName))
	if err != nil {
		return nil, fault.Default(fault.Input, err)
	}
	if !tagPattern.MatchString(m.GitSHA) {
		return nil, fault.Inputf("publishing %q: git_sha %q cannot be a tag", dir, m.GitSHA).WithFix("build from a Git checkout or set the revision")
	}
	if len(m.Families) == 0 {
		return nil, fault.Inputf("publishing %q: its build manifest lists no families", dir)
	}
	ab := &archBuild{dir: dir, manifest: m, sha256: hex.EncodeToString(sum)}
	if ab.spdx, err = readSBOM(dir, manifest.SPDXName); err != nil {
		return nil, err
	}
	ab.cyclonedx, err = readSBOM(dir, manifest.CycloneDXName)
	return ab, err
}

// sameBuild refuses folders that were built from different things.
func sameBuild(builds []*archBuild) error {
	first := builds[0].manifest
	for _, b := range builds[1:] {
		if b.manifest.Platform != first.Platform || b.manifest.GitSHA != first.GitSHA {
			return fault.Inputf("publishing %q: it holds %s at %s, but %q holds %s at %s", b.dir, b.manifest.Platform, b.manifest.GitSHA,
				builds[0].dir, first.Platform, first.GitSHA).WithFix("build all architectures from one commit")
		}
	}
	return nil
}

func (b *archBuild) artifacts() ([]*artifact, error) {
	var arts []*artifact
	for _, f := range b.manifest.Families {
		a := &artifact{build: b, family: f}
		read := a.readFiles
		if f.Name == imageFamily {
			read = a.readImage
		}
		if err := read(); err != nil {
			return nil, fault.Inputf("publishing %s: %w", a, err).WithFix("build again")
		}
		arts = append(arts, a)
	}
	return arts, nil
}

func (a *artifact) readFiles() error {
	var ok bool
	if a.main, ok = a.build.manifest.Artifacts[a.family.Main]; !ok {
		return fmt.Errorf("the main file %q is not among the build manifest's artifacts", a.family.Main)
	}
	for _, ff := range a.family.Files {
		file, err := a.build.file(a.family.Name, ff)
		if err != nil {
			return err
		}
		a.files = append(a.files, file)
	}
	return nil
}

func (a *artifact) readImage() (err error) {
	a.image, a.files, err = readImage(filepath.Join(a.build.dir, imageFamily), a.build.manifest.OCIDigest)
	if err != nil {
		return err
	}
	a.main = manifest.File{SHA256: a.image.desc.Digest.Encoded(), SizeBytes: a.image.desc.Size}
	return nil
}

// file checks that a file is still what the build made, by its size; the digest
// is checked while the file is sent.
func (b *archBuild) file(family string, ff manifest.FamilyFile) (file, error) {
	want, ok := b.manifest.Artifacts[ff.Path]
	if !ok {
		return file{}, fmt.Errorf("%q is not among the build manifest's artifacts", ff.Path)
	}
	if !filepath.IsLocal(filepath.FromSlash(ff.Path)) {
		return file{}, fmt.Errorf("%q leaves the build folder", ff.Path)
	}
	path := filepath.Join(b.dir, filepath.FromSlash(ff.Path))
	info, err := os.Stat(path)
	if err != nil {
		return file{}, err
	}
	if info.Size() != want.SizeBytes {
		return file{}, fmt.Errorf("%q has %d bytes, the build made %d", path, info.Size(), want.SizeBytes)
	}
	if raw, err := hex.DecodeString(want.SHA256); err != nil || len(raw) != sha256.Size {
		return file{}, fmt.Errorf("%q has the malformed digest %q", ff.Path, want.SHA256)
	}
	title := strings.TrimPrefix(ff.Path, family+"/")
	return file{title: title, path: path, mediaType: ff.MediaType, sha256: want.SHA256, size: want.SizeBytes}, nil
}

// unique drops files with the same content, which are sent once.
func unique(files []file) []file {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b file) int { return strings.Compare(a.sha256, b.sha256) })
	return slices.CompactFunc(files, func(a, b file) bool { return a.sha256 == b.sha256 })
}

// hashFile returns the SHA-256 of a file.
func hashFile(ctx context.Context, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	return sum.Sum(nil), nil
}

// contextReader stops reading when its context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// readBounded reads a whole file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, err)
	}
	if n > limit {
		return nil, fmt.Errorf("reading %q: it has more than %d bytes", path, limit)
	}
	return buf.Bytes(), nil
}
