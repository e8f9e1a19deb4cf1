package program

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// MaxLine bounds a line of the log, in bytes; longer ones are cut.
const MaxLine = 4096

// readLog hands on what a program prints and returns the last line that isn't
// empty.
func readLog(r io.Reader, log func(line string)) string {
	in := bufio.NewReaderSize(r, MaxLine)
	last, cut := "", false
	for {
		line, err := in.ReadSlice('\n')
		if text := strings.TrimRight(strings.ToValidUTF8(string(line), "�"), "\r\n"); text != "" && !cut {
			last = text
			log(text)
		}
		// ErrBufferFull: the line is longer than MaxLine; its rest is dropped.
		cut = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !cut {
			return last
		}
	}
}
