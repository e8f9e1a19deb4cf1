// Package hwdb compiles udev's hardware database: the text files of hwdb(7)
// become the trie in which udev looks devices up, hwdb.bin, as `systemd-hwdb
// update` writes it (systemd, src/libsystemd/sd-hwdb/hwdb-internal.h, version 2
// of the format).
package hwdb

import (
	"fmt"
	"strings"
)

// File is a text file of the database.
type File struct {
	// Path is what the database says where an entry is from.
	Path string
	Text string
}

// Compile returns the database made of files; a property in a later file
// replaces the same one in an earlier. A line that is neither a match nor a
// property is an error.
func Compile(files []File) ([]byte, error) {
	root := &node{}
	for i, f := range files {
		if err := root.insertFile(f, uint16(i+1)); err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Path, err)
		}
	}
	return root.encode(), nil
}

// insertFile inserts a file's records: one or more lines to match, then lines
// of properties, which begin with a space, then an empty line.
func (n *node) insertFile(f File, priority uint16) error {
	var matches []string
	inData := false
	number := uint32(0)
	for line := range strings.SplitSeq(f.Text, "\n") {
		number++
		if strings.HasPrefix(line, "#") {
			continue
		}
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimRight(line, " \t\r\v\f")
		switch {
		case line == "":
			if len(matches) > 0 && !inData {
				return fmt.Errorf("line %d: a property was expected", number)
			}
			matches, inData = nil, false
		case line[0] != ' ' && inData:
			return fmt.Errorf("line %d: a property or an empty line was expected", number)
		case line[0] != ' ':
			matches = append(matches, line)
		case len(matches) == 0:
			return fmt.Errorf("line %d: a match was expected", number)
		default:
			inData = true
			key, text, ok := strings.Cut(line, "=")
			key = " " + strings.TrimLeft(key, " \t")
			if !ok || key == " " {
				return fmt.Errorf("line %d: a property has no key", number)
			}
			for _, m := range matches {
				n.insert(m, value{key: key, text: text, path: f.Path, line: number, priority: priority})
			}
		}
	}
	return nil
}

// node is a node of the trie: what its matches share, and children by the next
// byte.
type node struct {
	prefix   string
	children []child // sorted by c
	values   []value // sorted by key
}

type child struct {
	c    byte
	node *node
}

// value is a property. Its key begins with a space.
type value struct {
	key, text, path string
	line            uint32
	priority        uint16
}

func (n *node) insert(match string, v value) {
	for {
		shared := 0
		for shared < len(n.prefix) && shared < len(match) && n.prefix[shared] == match[shared] {
			shared++
		}
		if shared < len(n.prefix) {
			rest := &node{prefix: n.prefix[shared+1:], children: n.children, values: n.values}
			*n = node{prefix: n.prefix[:shared], children: []child{{n.prefix[shared], rest}}}
		}
		if shared == len(match) {
			n.set(v)
			return
		}
		c := match[shared]
		i, ok := n.find(c)
		if !ok {
			added := &node{prefix: match[shared+1:], values: []value{v}}
			n.children = append(n.children, child{})
			copy(n.children[i+1:], n.children[i:])
			n.children[i] = child{c, added}
			return
		}
		n, match = n.children[i].node, match[shared+1:]
	}
}

func (n *node) find(c byte) (int, bool) {
	for i, x := range n.children {
		if x.c >= c {
			return i, x.c == c
		}
	}
	return len(n.children), false
}

// set adds a property or replaces the one of the same key.
func (n *node) set(v value) {
	i := 0
	for i < len(n.values) && n.values[i].key < v.key {
		i++
	}
	if i < len(n.values) && n.values[i].key == v.key {
		n.values[i] = v
		return
	}
	n.values = append(n.values, value{})
	copy(n.values[i+1:], n.values[i:])
	n.values[i] = v
}
