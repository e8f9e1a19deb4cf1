package program

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestScripts(t *testing.T) {
	for text, want := range map[string]string{
		"#!/bin/sh\necho":                   "/bin/sh",
		"#! \t/usr/bin/env -S sh\n":         "/usr/bin/env",
		"#!/usr/bin/busybox sh":             "/usr/bin/busybox",
		"#!":                                "",
		"#!\n/bin/sh":                       "",
		"echo":                              "",
		"":                                  "",
		"\x7fELF":                           "",
		"#!/" + strings.Repeat("x", 300):    "/" + strings.Repeat("x", 253),
		"#!/bin/a\x00b\n":                   "/bin/a",
		"\x7fELF\x01\x01" + zeros(100):      "",
		"\x7fELF\x02\x02" + zeros(100):      "",
		"\x7fELF\x02\x01" + zeros(20):       "",
		"\x7fELF\x02\x01" + zeros(100)[:57]: "",
	} {
		if got, err := Interpreter(strings.NewReader(text)); got != want || err != nil {
			t.Errorf("%.40q: got %q, %v", text, got, err)
		}
	}
}

func zeros(n int) string { return strings.Repeat("\x00", n) }

// dynamic returns an ELF file with a PT_INTERP segment.
func dynamic(name string) []byte {
	var b bytes.Buffer
	h := elf.Header64{Phoff: 64, Phentsize: 56, Phnum: 2, Ehsize: 64}
	copy(h.Ident[:], elf64Little)
	binary.Write(&b, binary.LittleEndian, h)
	binary.Write(&b, binary.LittleEndian, []elf.Prog64{{Type: uint32(elf.PT_LOAD)},
		{Type: uint32(elf.PT_INTERP), Off: 64 + 2*56, Filesz: uint64(len(name))}})
	b.WriteString(name)
	return b.Bytes()
}

func TestELF(t *testing.T) {
	const name = "/lib64/ld-linux-x86-64.so.2\x00"
	file := dynamic(name)
	if got, err := Interpreter(bytes.NewReader(file)); got+"\x00" != name || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for what, change := range map[string]func([]byte){
		"ELF header is damaged":      func(b []byte) { b[54] = 55 },
		"dynamic loader is damaged":  func(b []byte) { b[64+56+32+3] = 1 },
		"name of its dynamic loader": func(b []byte) { b[64+56+8+2] = 1 },
		"ELF segments: unexpected":   func(b []byte) { b[32+3] = 1 },
	} {
		b := bytes.Clone(file)
		change(b)
		if _, err := Interpreter(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The test's own program agrees with package debug/elf.
func TestOwnProgram(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			data, err := io.ReadAll(p.Open())
			if err != nil {
				t.Fatal(err)
			}
			want = strings.TrimRight(string(data), "\x00")
		}
	}
	if got, err := Interpreter(f); got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

type broken struct{ error }

func (b broken) ReadAt([]byte, int64) (int, error) { return 0, b.error }

func TestReadErrors(t *testing.T) {
	bad := errors.New("bad block")
	if _, err := Interpreter(broken{bad}); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
}

func FuzzInterpreter(f *testing.F) {
	f.Add([]byte("#!/bin/sh\n"))
	f.Add(dynamic("/lib/ld.so\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if name, err := Interpreter(bytes.NewReader(data)); len(name) > maxPath || err != nil && name != "" {
			t.Errorf("%d bytes, %v", len(name), err)
		}
	})
}
