//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/cmd/bootsmith-init/internal/remedy"
)

// minMemory is the least available memory, in bytes, with which mounting the
// root succeeds. With less, the kernel would kill init and panic.
const minMemory = 16 << 20

const mib = 1 << 20

func (b *boot) checkMemory() error {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("reading the amount of memory: %w", err)
	}
	defer f.Close()
	free, ok := available(f)
	if !ok {
		return nil
	}
	b.Debugf("%d MiB of memory are available", free/mib)
	if free < minMemory {
		return remedy.Errorf(fmt.Sprintf("give the machine at least %d MiB more memory", (minMemory-free)/mib+1),
			"only %d MiB of memory are available", free/mib)
	}
	return nil
}

// available returns the memory, in bytes, that can be had without swapping: the
// line "MemAvailable: <n> kB" of /proc/meminfo.
func available(meminfo io.Reader) (bytes int64, ok bool) {
	lines := bufio.NewScanner(meminfo)
	for lines.Scan() {
		value, found := strings.CutPrefix(lines.Text(), "MemAvailable:")
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 53)
		return kib << 10, err == nil && kib >= 0
	}
	return 0, false
}
