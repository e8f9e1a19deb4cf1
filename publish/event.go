package publish

// Event tells what Publish has just done.
type Event struct {
	Kind Kind
	// Name is the file, artifact or statement in question.
	Name string
	// Bytes and Total are the file's progress; 0 for what is no file.
	Bytes, Total int64
	Digest       string // of a manifest, "sha256:…"
}

// Kind is the kind of an Event.
type Kind string

// The kinds of events. Skipped means that the registry has the thing already,
// Mounted that it took it from another repository.
const (
	Pushing Kind = "pushing"
	Pushed  Kind = "pushed"
	Skipped Kind = "skipped"
	Mounted Kind = "mounted"
	Signed  Kind = "signed"
)
