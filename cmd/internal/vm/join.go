package vm

import (
	"io"
	"os"
)

// initrdAlign is the alignment, in bytes, at which the kernel looks for the
// next archive of an initrd (Documentation/driver-api/early-userspace/buffer-format.rst).
const initrdAlign = 4

// join writes the files one behind the other, each padded with zero bytes.
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
	n, err := io.Copy(out, in)
	if err != nil {
		return err
	}
	_, err = out.Write(make([]byte, (initrdAlign-n%initrdAlign)%initrdAlign))
	return err
}
