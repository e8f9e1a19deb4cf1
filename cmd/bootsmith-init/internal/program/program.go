// Package program tells which other program the kernel loads to start one.
package program

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits of what is read.
const (
	maxLine     = 256  // BINPRM_BUF_SIZE, include/uapi/linux/binfmts.h
	maxHeaders  = 512  // far more segments than any program has
	maxPath     = 4096 // PATH_MAX
	elfHeader   = 64   // size of Elf64_Ehdr in bytes
	elfSegment  = 56   // size of Elf64_Phdr in bytes
	elfInterp   = 3    // PT_INTERP
	elf64Little = "\x7fELF\x02\x01"
)

// Interpreter returns the path of the program that runs r: what follows "#!" in a
// script (fs/binfmt_script.c), the dynamic loader of a 64-bit little-endian ELF
// file (fs/binfmt_elf.c). It is "" for a program that needs none, and for what
// isn't a program: the kernel has its own words for that.
func Interpreter(r io.ReaderAt) (string, error) {
	head := make([]byte, maxLine)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return script(head[2:]), nil
	case bytes.HasPrefix(head, []byte(elf64Little)) && len(head) >= elfHeader:
		return loader(r, head)
	}
	return "", nil
}

// script returns the first word of a script's first line.
func script(line []byte) string {
	if end := bytes.IndexAny(line, "\n\x00"); end >= 0 {
		line = line[:end]
	}
	line = bytes.TrimLeft(line, " \t")
	if end := bytes.IndexAny(line, " \t"); end >= 0 {
		line = line[:end]
	}
	return string(line)
}

// loader looks through the segments of an ELF file: a table of Elf64_Phdr (type at
// byte 0, offset in the file at 8, size in the file at 32) at e_phoff (byte 32 of
// the header), of e_phnum entries (byte 56), each e_phentsize (byte 54) long.
func loader(r io.ReaderAt, head []byte) (string, error) {
	le := binary.LittleEndian
	offset, size, count := le.Uint64(head[32:]), le.Uint16(head[54:]), le.Uint16(head[56:])
	if size != elfSegment || count > maxHeaders || offset > 1<<62 {
		return "", errors.New("its ELF header is damaged")
	}
	table := make([]byte, int(size)*int(count))
	if err := readAt(r, table, offset); err != nil {
		return "", fmt.Errorf("reading its ELF segments: %w", err)
	}
	for ; len(table) > 0; table = table[elfSegment:] {
		if le.Uint32(table) != elfInterp {
			continue
		}
		at, length := le.Uint64(table[8:]), le.Uint64(table[32:])
		if length < 2 || length > maxPath || at > 1<<62 {
			return "", errors.New("the name of its dynamic loader is damaged")
		}
		name := make([]byte, length)
		if err := readAt(r, name, at); err != nil {
			return "", fmt.Errorf("reading the name of its dynamic loader: %w", err)
		}
		name, _, _ = bytes.Cut(name, []byte{0})
		return string(name), nil
	}
	return "", nil
}

func readAt(r io.ReaderAt, p []byte, offset uint64) error {
	n, err := r.ReadAt(p, int64(offset))
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
