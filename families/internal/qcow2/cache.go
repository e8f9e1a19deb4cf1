package qcow2

import "container/list"

// cache keeps the values that were used last.
type cache[V any] struct {
	limit int
	order *list.List // of *cached[V], the last used first
	items map[uint64]*list.Element
}

type cached[V any] struct {
	key   uint64
	value V
}

func newCache[V any](limit int) cache[V] {
	return cache[V]{limit: limit, order: list.New(), items: map[uint64]*list.Element{}}
}

func (c *cache[V]) get(key uint64) (value V, ok bool) {
	e, ok := c.items[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached[V]).value, true
}

func (c *cache[V]) put(key uint64, value V) {
	c.items[key] = c.order.PushFront(&cached[V]{key, value})
	if c.order.Len() > c.limit {
		last := c.order.Back()
		delete(c.items, c.order.Remove(last).(*cached[V]).key)
	}
}
