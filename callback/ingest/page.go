package ingest

import "math"

// Page selects a part of a list that is ordered newest first.
type Page struct {
	// Limit is the number of entries: 1 to MaxLimit; 0 means DefaultLimit.
	Limit int
	// Cursor is the Next of the page before; 0 is the first page.
	Cursor int64
}

// The sizes of pages.
const (
	DefaultLimit = 50
	MaxLimit     = 200
)

// List is one page.
type List[T any] struct {
	Items []T
	// Next is the cursor of the next page, 0 after the last one.
	Next int64
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return DefaultLimit
	}
	return min(p.Limit, MaxLimit)
}

func (p Page) before() int64 {
	if p.Cursor <= 0 {
		return math.MaxInt64
	}
	return p.Cursor
}

// cut makes a page of one row more than its limit, if there are so many.
func cut[T any](rows []T, p Page, number func(T) int64) List[T] {
	if len(rows) <= p.limit() {
		return List[T]{Items: rows}
	}
	rows = rows[:p.limit()]
	return List[T]{Items: rows, Next: number(rows[len(rows)-1])}
}
