package lzma2

import "encoding/binary"

const (
	modelBits = 11
	modelMax  = 1 << modelBits
	modelInit = modelMax / 2
	moveBits  = 5
	topValue  = 1 << 24
	// roundUp, added to a probability of less than modelMax, makes a shift to
	// the right by moveBits, which rounds down, the opposite of that of modelMax
	// less the probability: for moving it up and down by the same code.
	roundUp = 1<<32 - (modelMax - 1<<moveBits + 1)
	// inputSlack is how many bytes are readable behind a chunk's input, so that
	// damage is looked for once for each symbol. None takes more than 20.
	inputSlack = 32
)

// coder is the range decoder.
type coder struct {
	in         []byte
	pos        int // in in, of the next byte
	rng, value uint32
}

// start reads the first five bytes of a chunk.
func (c *coder) start(in []byte) bool {
	c.in, c.pos = in, 5
	c.rng, c.value = 0xffffffff, binary.BigEndian.Uint32(in[1:])
	return in[0] == 0
}

// bit decodes a bit.
func (c *coder) bit(model *uint16) uint32 {
	p := uint32(*model)
	bound := c.rng >> modelBits * p
	bit := uint32(0)
	if c.value < bound {
		c.rng = bound
		*model = uint16(p + (modelMax-p)>>moveBits)
	} else {
		c.rng -= bound
		c.value -= bound
		*model = uint16(p - p>>moveBits)
		bit = 1
	}
	if c.rng < topValue {
		c.rng <<= 8
		c.value = c.value<<8 | uint32(c.in[c.pos])
		c.pos++
	}
	return bit
}

// tree decodes a number, the highest bit first; models has one more element
// than there are inner nodes.
//
// It has no branches but the loop's: a processor can't predict bits that were
// compressed well, and a wrong prediction takes as long as decoding several.
// zero is all ones for the bit 0, less when the range is too small.
func (c *coder) tree(models []uint16) uint32 {
	rng, value, pos, in := c.rng, c.value, c.pos, c.in
	limit := uint32(len(models))
	m := uint32(1)
	for m < limit {
		p := uint32(models[m])
		bound := rng >> modelBits * p
		zero := uint32((uint64(value) - uint64(bound)) >> 32)
		rng = (rng - bound) ^ ((rng-bound)^bound)&zero
		value -= bound &^ zero
		models[m] = uint16(int32(p) - (int32(p)+int32(zero&roundUp))>>moveBits)
		m = m<<1 + 1 + zero
		less := uint32((uint64(rng) - topValue) >> 32)
		rng <<= less & 8
		value = value<<(less&8) | uint32(in[pos])&less
		pos += int(less & 1)
	}
	c.rng, c.value, c.pos = rng, value, pos
	return m - limit
}

// reverse decodes a number of so many bits, the lowest first.
func (c *coder) reverse(models []uint16, bits uint32) uint32 {
	m, sum := uint32(1), uint32(0)
	for i := range bits {
		b := c.bit(&models[m])
		m = m<<1 | b
		sum |= b << i
	}
	return sum
}

// direct decodes a number of so many bits that have no models, the highest first.
func (c *coder) direct(bits uint32) uint32 {
	rng, value, pos := c.rng, c.value, c.pos
	sum := uint32(0)
	for range bits {
		rng >>= 1
		value -= rng
		mask := 0 - value>>31 // all ones when value was less
		value += rng & mask
		sum = sum<<1 + mask + 1
		if rng < topValue {
			rng <<= 8
			value = value<<8 | uint32(c.in[pos])
			pos++
		}
	}
	c.rng, c.value, c.pos = rng, value, pos
	return sum
}
