package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"

	"github.com/powernode/bootsmith/builder/cache"
	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/builder/store"
	"github.com/powernode/bootsmith/builder/tree"
	"github.com/powernode/bootsmith/families"
)

// save keeps a result, if the stage has a keeper.
func (s *stage[T]) save(value T) (T, error) {
	if s.kept == nil {
		return value, nil
	}
	id, ok := s.identify()
	if !ok {
		return value, context.Cause(s.g.ctx)
	}
	e := &cache.Entry{Key: id.key(s.g.program), Stage: s.name}
	value, err := s.kept.save(s.g.ctx, s.g.cache, e, value)
	if err != nil {
		return value, err
	}
	if s.entry != nil && !sameResult(s.entry, e) {
		return value, fault.Buildf("building %s: the files differ from those that the cache had, of which others have been used", s.name).
			WithFix("build again: what was damaged in the cache has been deleted")
	}
	if err := s.g.cache.Put(e); err != nil {
		return value, err
	}
	s.send(e)
	return value, nil
}

// sameResult tells whether two entries are of the same value and the same bytes.
func sameResult(a, b *cache.Entry) bool {
	digests := func(e *cache.Entry) map[string]string {
		m := map[string]string{"": string(e.Value)}
		for _, f := range e.Files {
			m[f.Name] = f.SHA256
		}
		return m
	}
	return reflect.DeepEqual(digests(a), digests(b))
}

// treeKeeper keeps trees. A tree is usable when all its contents are in the
// store; whoever reads these verifies them.
type treeKeeper struct{ store *store.Store }

const treeFile = "tree"

func (k treeKeeper) save(_ context.Context, c *cache.Cache, e *cache.Entry, t *tree.Tree) (*tree.Tree, error) {
	data := t.Encode()
	digest, err := c.KeepBytes(data)
	if err != nil {
		return nil, err
	}
	e.Files = []cache.File{{Name: treeFile, MediaType: cache.TreeMediaType, Size: int64(len(data)), SHA256: digest}}
	return t, nil
}

func (k treeKeeper) load(c *cache.Cache, e *cache.Entry) (*tree.Tree, error) {
	f, err := e.File(treeFile)
	if err != nil {
		return nil, err
	}
	data, err := c.ReadBytes(f.SHA256, cache.MaxTree)
	if err != nil {
		return nil, err
	}
	return tree.Decode(data)
}

func (k treeKeeper) check(ctx context.Context, _ *cache.Cache, _ *cache.Entry, t *tree.Tree) error {
	return t.Walk(func(path string, n *tree.Node) error {
		if n.Inode.IsRegular() && !k.store.Has(n.Inode.Content, n.Inode.Size) {
			return &cache.DamageError{Reason: fmt.Sprintf("the content of %q is missing", path)}
		}
		return ctx.Err()
	})
}

// part is a file that other stages read, with what is known about it.
type part[V any] struct {
	Value V
	blob  families.Blob
}

// partKeeper keeps parts. name is for people who look into the cache.
type partKeeper[V any] struct{ name string }

func (k partKeeper[V]) save(_ context.Context, c *cache.Cache, e *cache.Entry, p part[V]) (part[V], error) {
	var err error
	if e.Value, err = json.Marshal(p.Value); err != nil {
		return p, err
	}
	e.Files = []cache.File{{Name: k.name, Size: p.blob.Size, SHA256: p.blob.SHA256}}
	p.blob.Path, err = c.Keep(p.blob.Path, p.blob.SHA256)
	return p, err
}

func (k partKeeper[V]) load(c *cache.Cache, e *cache.Entry) (p part[V], err error) {
	f, err := e.File(k.name)
	if err != nil {
		return p, err
	}
	p.blob = families.Blob{Path: c.Blob(f.SHA256), Size: f.Size, SHA256: f.SHA256}
	return p, json.Unmarshal(e.Value, &p.Value)
}

func (k partKeeper[V]) check(_ context.Context, c *cache.Cache, _ *cache.Entry, p part[V]) error {
	return c.Verify(p.blob.SHA256, p.blob.Size)
}

// outputKeeper keeps finished files of the build's folder.
type outputKeeper struct{ dir string }

func (k outputKeeper) save(ctx context.Context, c *cache.Cache, e *cache.Entry, o output) (output, error) {
	var err error
	if e.Value, err = json.Marshal(o.main); err != nil {
		return o, err
	}
	for _, a := range o.files {
		var spans []cache.Span
		for _, s := range o.spans(a.Name) {
			spans = append(spans, cache.Span(s))
		}
		f := cache.File{Name: a.Name, MediaType: a.MediaType, Size: a.Size, SHA256: a.SHA256}
		if f, err = c.KeepFile(ctx, filepath.Join(k.dir, filepath.FromSlash(a.Name)), f, spans); err != nil {
			return o, err
		}
		e.Files = append(e.Files, f)
	}
	return o, nil
}

func (k outputKeeper) load(_ *cache.Cache, e *cache.Entry) (o output, err error) {
	for _, f := range e.Files {
		o.files = append(o.files, families.Artifact{Name: f.Name, MediaType: f.MediaType, Size: f.Size, SHA256: f.SHA256})
	}
	return o, json.Unmarshal(e.Value, &o.main)
}

// check writes the files, which tells whether they are as they should be.
func (k outputKeeper) check(ctx context.Context, c *cache.Cache, e *cache.Entry, _ output) error {
	return c.Restore(ctx, e, k.dir)
}
