package vm

import (
	"io"
	"os"
)

// join writes the files one behind the other.
func join(dst string, files ...string) (err error) {
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	for _, name := range files {
		if err := appendFile(out, name); err != nil {
			return err
		}
	}
	return nil
}

func appendFile(out *os.File, name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	return err
}
