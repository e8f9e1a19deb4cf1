package families

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/builder/composefs"
	"github.com/powernode/bootsmith/builder/composefs/erofs"
)

// Parameters of the kernel command line that name the root; init reads them.
const (
	argDigest = "composefs"
	argHash   = "bootsmith.roothash"
	argBlocks = "bootsmith.rootblocks"
)

// rootArgs are those parameters' values.
type rootArgs struct {
	digest, hash [32]byte
	blocks       int64 // data blocks of root.img
}

// parseRootArgs finds the parameters. Each must be there once.
func parseRootArgs(cmdline string) (a rootArgs, err error) {
	values := map[string]string{}
	for _, arg := range splitCmdline(cmdline) {
		key, value, _ := strings.Cut(arg, "=")
		if key != argDigest && key != argHash && key != argBlocks {
			continue
		}
		if _, twice := values[key]; twice {
			return a, fmt.Errorf("the kernel command line has %s= twice", key)
		}
		values[key] = value
	}
	if a.digest, err = parseDigest(argDigest, values); err != nil {
		return a, err
	}
	if a.hash, err = parseDigest(argHash, values); err != nil {
		return a, err
	}
	a.blocks, err = strconv.ParseInt(values[argBlocks], 10, 64)
	if err != nil || a.blocks <= 0 {
		return a, fmt.Errorf("the kernel command line has %s=%q, which is no number of blocks", argBlocks, values[argBlocks])
	}
	return a, nil
}

func parseDigest(key string, values map[string]string) (d [32]byte, err error) {
	raw, err := hex.DecodeString(values[key])
	if err != nil || len(raw) != len(d) {
		return d, fmt.Errorf("the kernel command line has %s=%q, which is no digest", key, values[key])
	}
	return [32]byte(raw), nil
}

// check reads a root image of size bytes and compares it with the parameters.
func (a rootArgs) check(ctx context.Context, r io.ReaderAt, size int64) error {
	if a.blocks > size/erofs.BlockSize {
		return fmt.Errorf("%s=%d, but there are only %d blocks", argBlocks, a.blocks, size/erofs.BlockSize)
	}
	return composefs.CheckRootImage(ctx, r, composefs.RootImage{Digest: a.digest, RootHash: a.hash, DataBlocks: a.blocks, Size: size})
}

// proof begins a proof with the digests.
func (a rootArgs) proof() Proof {
	return Proof{RootDigest: hex.EncodeToString(a.digest[:]), RootHash: hex.EncodeToString(a.hash[:])}
}
