package publish

import (
	"math/rand/v2"
	"net/http"
)

// NewFaulty returns a bad way to a registry, the same one for the same seed.
func NewFaulty(seed uint64, odds float64) http.RoundTripper {
	return &faulty{rand: rand.New(rand.NewPCG(seed, 7)), odds: odds}
}
