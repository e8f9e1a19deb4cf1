package composefs

import (
	"encoding/binary"
	"math/bits"
)

// The primes of xxHash.
const (
	prime1 uint32 = 2654435761
	prime2 uint32 = 2246822519
	prime3 uint32 = 3266489917
	prime4 uint32 = 668265263
	prime5 uint32 = 374761393
)

// xxh32 is XXH32 of the xxHash specification, which EROFS uses for the filter of
// xattr names.
func xxh32(data []byte, seed uint32) uint32 {
	length := uint32(len(data))
	sum := seed + prime5
	if len(data) >= 16 {
		lanes := [4]uint32{seed + prime1 + prime2, seed + prime2, seed, seed - prime1}
		for ; len(data) >= 16; data = data[16:] {
			for i := range lanes {
				lane := lanes[i] + binary.LittleEndian.Uint32(data[4*i:])*prime2
				lanes[i] = bits.RotateLeft32(lane, 13) * prime1
			}
		}
		sum = 0
		for i, turn := range [4]int{1, 7, 12, 18} {
			sum += bits.RotateLeft32(lanes[i], turn)
		}
	}
	sum += length
	for ; len(data) >= 4; data = data[4:] {
		sum += binary.LittleEndian.Uint32(data) * prime3
		sum = bits.RotateLeft32(sum, 17) * prime4
	}
	for _, c := range data {
		sum += uint32(c) * prime5
		sum = bits.RotateLeft32(sum, 11) * prime1
	}
	sum = (sum ^ sum>>15) * prime2
	sum = (sum ^ sum>>13) * prime3
	return sum ^ sum>>16
}
