//go:build linux

package main

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/rootimg"
)

// maxReported bounds the places that a message names.
const maxReported = 12

// search remembers what was looked at.
type search struct {
	*boot
	wanted rootimg.Wanted
	known  map[string]int64 // sizes in bytes by name
	places []string         // in the order in which they were looked at
	notes  map[string]string
}

// isKnown says whether a device was looked at when it had that size: inserting a
// medium changes it.
func (s *search) isKnown(name string, size int64) bool {
	was, ok := s.known[name]
	return ok && was == size
}

// know remembers that a device needs no second look.
func (s *search) know(name string, size int64) {
	if s.known == nil {
		s.known = map[string]int64{}
	}
	s.known[name] = size
}

// note remembers why a place doesn't have the root image.
func (s *search) note(place, why string) {
	if s.notes == nil {
		s.notes = map[string]string{}
	}
	if _, ok := s.notes[place]; !ok {
		s.places = append(s.places, place)
	}
	if s.notes[place] != why {
		s.notes[place] = why
		s.Debugf("looked at %s: %s", place, why)
	}
}

// report lists the places.
func (s *search) report() string {
	var parts []string
	for i, place := range s.places {
		if i == maxReported {
			parts = append(parts, strconv.Itoa(len(s.places)-i)+" more")
			break
		}
		parts = append(parts, place+": "+s.notes[place])
	}
	return strings.Join(parts, ", ")
}

func (s *search) failure() error {
	return remedy.Errorf("attach the disk or medium that was built with this kernel command line, write it again if it is damaged, and see that its driver is in the initramfs",
		"found no root image with bootsmith.roothash=%x and %d blocks (%s)", s.wanted.RootHash, s.wanted.Blocks, s.report())
}

// reason returns an error without the operation and the path.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
