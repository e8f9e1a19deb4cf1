package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/powernode/bootsmith/builder/fault"
)

// openBlob opens a blob that is verified while it is read: the read that would
// return io.EOF returns an error instead when the bytes are not those of the
// digest, and one past limit bytes does in any case.
func openBlob(ctx context.Context, open opener, digest v1.Hash, limit int64) (io.ReadCloser, error) {
	if digest.Algorithm != "sha256" || len(digest.Hex) != 2*sha256.Size {
		return nil, fault.Inputf("reading the blob %s: only sha256 digests are supported", digest)
	}
	r, err := open(ctx, digest)
	if err != nil {
		return nil, err
	}
	return &verified{r: r, sum: sha256.New(), digest: digest.Hex, left: limit}, nil
}

// verified compares what is read with a digest.
type verified struct {
	r      io.ReadCloser
	sum    hash.Hash
	digest string
	left   int64
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if v.left -= int64(n); v.left < 0 {
		return 0, fmt.Errorf("the blob sha256:%s is larger than announced", v.digest)
	}
	if err == io.EOF {
		if found := hex.EncodeToString(v.sum.Sum(nil)); found != v.digest {
			return n, fmt.Errorf("the blob sha256:%s is damaged: its digest is sha256:%s", v.digest, found)
		}
	}
	return n, err
}

func (v *verified) Close() error { return v.r.Close() }
