package depmod

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Format of an index (kmod, libkmod-index.c): a trie with common prefixes, all
// numbers big-endian.
//
//	u32 magic, u32 version, u32 offset of the root node
//	node: [prefix, NUL] [u8 first, u8 last, u32 offset of each child from
//	first to last] [u32 count, then for each value u32 priority, text, NUL]
//
// The top bits of an offset say which of the three parts the node has.
const (
	indexMagic   = 0xB007F457
	indexVersion = 0x00020001
	hasPrefix    = 0x80000000
	hasValues    = 0x40000000
	hasChildren  = 0x20000000
)

// node is a node of the trie.
type node struct {
	prefix   string
	children [128]*node
	first    int // the range of children; first > last: none
	last     int
	values   []value // by priority
}

type value struct {
	text     string
	priority uint32
}

func newNode(prefix string) *node { return &node{prefix: prefix, first: 128, last: -1} }

// insert adds a value under a key. Keys are ASCII; others, which no kernel has,
// are left out, as libkmod couldn't look them up.
func (n *node) insert(key, text string, priority uint32) {
	if strings.ContainsFunc(key, func(r rune) bool { return r >= 128 }) {
		return
	}
	for {
		shared := 0
		for shared < len(n.prefix) && shared < len(key) && n.prefix[shared] == key[shared] {
			shared++
		}
		if shared < len(n.prefix) {
			n.split(shared)
		}
		key = key[shared:]
		if key == "" {
			n.add(value{text, priority})
			return
		}
		c := key[0]
		if n.children[c] == nil {
			n.setChild(c, newNode(key[1:]))
			n.children[c].add(value{text, priority})
			return
		}
		n, key = n.children[c], key[1:]
	}
}

// split turns a node into one with a shorter prefix and a single child.
func (n *node) split(at int) {
	rest := *n
	rest.prefix = n.prefix[at+1:]
	c := n.prefix[at]
	*n = *newNode(n.prefix[:at])
	n.setChild(c, &rest)
}

func (n *node) setChild(c byte, child *node) {
	n.children[c] = child
	n.first, n.last = min(n.first, int(c)), max(n.last, int(c))
}

// add keeps values by priority; of equal ones the newest comes first.
func (n *node) add(v value) {
	i := 0
	for i < len(n.values) && n.values[i].priority < v.priority {
		i++
	}
	n.values = append(n.values, value{})
	copy(n.values[i+1:], n.values[i:])
	n.values[i] = v
}

// encode returns the whole index.
func (n *node) encode() []byte {
	var b bytes.Buffer
	b.Write(binary.BigEndian.AppendUint32(nil, indexMagic))
	b.Write(binary.BigEndian.AppendUint32(nil, indexVersion))
	b.Write(make([]byte, 4))
	root := n.write(&b)
	out := b.Bytes()
	binary.BigEndian.PutUint32(out[8:], root)
	return out
}

// write writes the children, then the node, and returns its offset with flags.
func (n *node) write(b *bytes.Buffer) uint32 {
	var offsets []byte
	for c := n.first; c <= n.last; c++ {
		offset := uint32(0)
		if child := n.children[c]; child != nil {
			offset = child.write(b)
		}
		offsets = binary.BigEndian.AppendUint32(offsets, offset)
	}
	offset := uint32(b.Len())
	if n.prefix != "" {
		b.WriteString(n.prefix + "\x00")
		offset |= hasPrefix
	}
	if len(offsets) > 0 {
		b.Write([]byte{byte(n.first), byte(n.last)})
		b.Write(offsets)
		offset |= hasChildren
	}
	if len(n.values) > 0 {
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(n.values))))
		for _, v := range n.values {
			b.Write(binary.BigEndian.AppendUint32(nil, v.priority))
			b.WriteString(v.text + "\x00")
		}
		offset |= hasValues
	}
	return offset
}

func depIndex(modules []Module, deps [][]int) []byte {
	root := newNode("")
	for i, m := range modules {
		root.insert(m.Name(), depLine(modules, deps, i), uint32(i))
	}
	return root.encode()
}

func aliasIndex(modules []Module) []byte {
	root := newNode("")
	for i, m := range modules {
		for _, a := range m.Aliases {
			if key, ok := normalize(a); ok {
				root.insert(key, m.Name(), uint32(i))
			}
		}
	}
	return root.encode()
}

func symbolIndex(modules []Module) []byte {
	root := newNode("")
	for i, m := range modules {
		for _, s := range m.Symbols {
			root.insert("symbol:"+s, m.Name(), uint32(i))
		}
	}
	return root.encode()
}

// builtinIndex lists what modprobe need not look for.
func builtinIndex(builtin []byte) []byte {
	root := newNode("")
	for line := range strings.Lines(string(builtin)) {
		if line = strings.TrimSpace(line); line != "" {
			root.insert(Module{Path: line}.Name(), "", 0)
		}
	}
	return root.encode()
}

// builtinAliasIndex reads "module.alias=pattern" entries, each ended by NUL.
func builtinAliasIndex(modinfo []byte) []byte {
	root := newNode("")
	for entry := range strings.SplitSeq(string(modinfo), "\x00") {
		name, rest, _ := strings.Cut(entry, ".")
		if alias, ok := strings.CutPrefix(rest, "alias="); ok {
			if key, ok := normalize(alias); ok {
				root.insert(key, canonical(name), 0)
			}
		}
	}
	return root.encode()
}

// normalize turns dashes into underscores outside of brackets, as modprobe does
// with what it looks up.
func normalize(alias string) (string, bool) {
	out := []byte(alias)
	inside := false
	for i, c := range out {
		switch {
		case c == '[':
			inside = true
		case c == ']' && !inside:
			return "", false
		case c == ']':
			inside = false
		case c == '-' && !inside:
			out[i] = '_'
		}
	}
	return string(out), !inside
}
