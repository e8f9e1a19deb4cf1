package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/powernode/bootsmith/builder/fault"
)

// attemptName is the file in a build's output folder that says what is being, or
// was, published where. It is written when the registry has taken the first
// thing, and stays.
const attemptName = ".publish.json"

// maxAttempt bounds the file, in bytes.
const maxAttempt = 64 << 10

// Attempt is a publish that was begun, to be continued by Options.Resume.
type Attempt struct {
	SchemaVersion int `json:"schema_version"`
	// Repository is Options.Repository.
	Repository string `json:"repository"`
	// Builds maps architectures to the SHA-256 (hex) of their build manifests.
	Builds map[string]string `json:"builds"`
}

// ReadAttempt returns the publish that was begun from the output folder last.
func ReadAttempt(dir string) (*Attempt, error) {
	path := filepath.Join(dir, attemptName)
	raw, err := readBounded(path, maxAttempt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Inputf("resuming the publish of %q: none was begun", dir).WithFix("run publish without --resume")
	}
	if err != nil {
		return nil, fault.Inputf("resuming the publish of %q: %w", dir, err)
	}
	a, err := parseAttempt(raw)
	if err != nil {
		return nil, fault.Inputf("reading %q: %w", path, err).WithFix("run publish without --resume")
	}
	return a, nil
}

func parseAttempt(raw []byte) (*Attempt, error) {
	var a Attempt
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, err
	}
	if a.SchemaVersion != publicationVersion {
		return nil, fmt.Errorf("schema_version %d is not %d", a.SchemaVersion, publicationVersion)
	}
	if a.Repository == "" || len(a.Builds) == 0 {
		return nil, errors.New("it names no repository or no build")
	}
	return &a, nil
}

// Arches returns the architectures that were to be published.
func (a *Attempt) Arches() []string { return slices.Sorted(maps.Keys(a.Builds)) }

func newAttempt(repository string, builds []*archBuild) *Attempt {
	a := &Attempt{SchemaVersion: publicationVersion, Repository: repository, Builds: map[string]string{}}
	for _, b := range builds {
		a.Builds[b.manifest.Arch] = b.sha256
	}
	return a
}

func (a *Attempt) write(dir string) error {
	raw, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", attemptName, err)
	}
	if err := writeFile(filepath.Join(dir, attemptName), append(raw, '\n')); err != nil {
		return fmt.Errorf("writing %s: %w", attemptName, err)
	}
	return nil
}

// same refuses to go on with another build, or to another place, than was begun.
func (a *Attempt) same(dir string, now *Attempt) error {
	if a.Repository != now.Repository {
		return fault.Inputf("resuming the publish of %q: it was begun to %q, not to %q", dir, a.Repository, now.Repository).
			WithFix("leave out --repository, or run publish without --resume")
	}
	for arch, sum := range a.Builds {
		if now.Builds[arch] != sum {
			return fault.Inputf("resuming the publish of %q: the %s build has changed since it was begun", dir, arch).WithFix("run publish without --resume")
		}
	}
	return nil
}
