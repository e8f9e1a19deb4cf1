package composefs

import (
	"io"
	"sync"
)

// tee writes to two writers at the same time.
type tee struct{ first, second io.Writer }

// Write implements io.Writer.
func (t *tee) Write(p []byte) (int, error) {
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { _, err = t.second.Write(p) })
	n, firstErr := t.first.Write(p)
	wg.Wait()
	if firstErr != nil {
		err = firstErr
	}
	return n, err
}
