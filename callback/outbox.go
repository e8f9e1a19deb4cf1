package callback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A file in the outbox is the body of one undelivered event and nothing else,
// named after it: "msg_<hex SHA-256 of the body>.json". The name is what the
// rename made visible, so a file is whole or absent.
var outboxName = regexp.MustCompile(`\Amsg_[0-9a-f]{64}\.json\z`)

// staleTemp is the age after which a temporary file is a dead process's.
const staleTemp = time.Hour

// Sent is one event that Flush delivered.
type Sent struct {
	File     string // its name in the outbox
	Event    Event
	Response Response
}

// Flush delivers what is in the outbox, oldest build first, and returns what
// the platform took. Refused events stay and don't keep the others back; when
// the platform can't be reached, the rest is not tried. The error joins all
// failures.
func (s *Sender) Flush(ctx context.Context) ([]Sent, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	files, failures, err := s.pending()
	if err != nil {
		return nil, err
	}
	var sent []Sent
	for _, f := range files {
		r, err := s.deliverFile(ctx, f.name, f.body)
		if err == nil {
			sent = append(sent, Sent{File: f.name, Event: f.event, Response: r})
			continue
		}
		failures = append(failures, fmt.Errorf("resending %q: %w", f.name, err))
		var e *Error
		if errors.As(err, &e) && e.Retriable() {
			break
		}
	}
	return sent, errors.Join(failures...)
}

// Pending returns the events in the outbox, oldest build first. A folder that
// is not there is an empty outbox.
func (s *Sender) Pending() ([]Event, error) {
	files, failures, err := s.pending()
	if err != nil {
		return nil, err
	}
	var events []Event
	for _, f := range files {
		events = append(events, f.event)
	}
	return events, errors.Join(failures...)
}

type outboxFile struct {
	name  string
	body  []byte
	event Event
}

// pending reads the outbox; the second result is about single files.
func (s *Sender) pending() (files []outboxFile, bad []error, err error) {
	if s.Outbox == "" {
		return nil, nil, nil
	}
	entries, err := os.ReadDir(s.Outbox)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading outbox %q: %w", s.Outbox, err)
	}
	for _, entry := range entries {
		if s.removeStale(entry) || !outboxName.MatchString(entry.Name()) {
			continue
		}
		f, err := readOutboxFile(s.Outbox, entry.Name())
		switch {
		case errors.Is(err, os.ErrNotExist): // another process has delivered it
		case err != nil:
			bad = append(bad, err)
		default:
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b outboxFile) int {
		return cmp.Or(a.event.BuiltAt.Compare(b.event.BuiltAt), strings.Compare(a.name, b.name))
	})
	return files, bad, nil
}

func readOutboxFile(dir, name string) (outboxFile, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return outboxFile{}, fmt.Errorf("reading outbox: %w", err)
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, MaxBody+1))
	if err != nil {
		return outboxFile{}, fmt.Errorf("reading outbox file %q: %w", name, err)
	}
	if MessageID(body)+".json" != name {
		return outboxFile{}, fmt.Errorf("reading outbox file %q: its content was changed; delete it and build again", name)
	}
	event, err := ParseEvent(body)
	if err != nil {
		return outboxFile{}, fmt.Errorf("reading outbox file %q: %w", name, err)
	}
	return outboxFile{name: name, body: body, event: event}, nil
}

// removeStale removes the temporary file of a process that was killed.
func (s *Sender) removeStale(entry os.DirEntry) bool {
	if !strings.HasPrefix(entry.Name(), tempPrefix) {
		return false
	}
	if info, err := entry.Info(); err == nil && s.Now != nil && s.Now().Sub(info.ModTime()) > staleTemp {
		_ = os.Remove(filepath.Join(s.Outbox, entry.Name()))
	}
	return true
}

// deliverFile delivers a body that is in the outbox and removes it there.
func (s *Sender) deliverFile(ctx context.Context, name string, body []byte) (Response, error) {
	r, err := s.deliver(ctx, body)
	if err != nil {
		return Response{}, err
	}
	if err := os.Remove(filepath.Join(s.Outbox, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Response{}, fmt.Errorf("removing a delivered event from the outbox: %w", err)
	}
	return r, nil
}

const tempPrefix = ".tmp-"

// store writes a body to the outbox and returns its name there. When it
// returns, the file survives a power cut.
func store(dir string, body []byte) (string, error) {
	name := MessageID(body) + ".json"
	fail := func(err error) (string, error) { return "", fmt.Errorf("writing to outbox %q: %w", dir, err) }
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fail(err)
	}
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return fail(err)
	}
	defer os.Remove(f.Name()) // in vain after the rename
	defer f.Close()
	if _, err := f.Write(body); err != nil {
		return fail(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fail(err)
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return fail(err)
	}
	if err := syncDir(dir); err != nil {
		return fail(err)
	}
	return name, nil
}

// syncDir makes a rename in the folder durable (fsync(2), "calling fsync on a
// directory").
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
