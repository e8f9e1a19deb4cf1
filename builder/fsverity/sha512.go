package fsverity

// Hasher512 computes the digest with SHA-512 of what is written to it: what
// bootc names objects and images by ("fsverity-sha512-12"). It is not safe for
// concurrent use.
type Hasher512 struct{ h Hasher }

// New512 returns a Hasher512 for an empty stream.
func New512() *Hasher512 { return &Hasher512{Hasher{wide: true}} }

// Write adds p to the stream. It never fails.
func (h *Hasher512) Write(p []byte) (int, error) { return h.h.Write(p) }

// Sum returns the digest of what was written so far. More may be written
// afterwards.
func (h *Hasher512) Sum() [64]byte { return h.h.sum(algSHA512) }
