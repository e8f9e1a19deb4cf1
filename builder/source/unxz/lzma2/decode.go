package lzma2

// decode decodes a chunk of size bytes; behind the chunk's own bytes, in has
// inputSlack more. It returns false when they are damaged.
func (d *Decoder) decode(in []byte, size int) bool {
	packed := len(in) - inputSlack
	if packed < 5 {
		return false
	}
	var c coder
	if !c.start(in) {
		return false
	}
	limit := d.end + size
	for d.end < limit {
		d.literalRun(&c, limit)
		if c.pos > packed {
			return false
		}
		if d.end == limit {
			break
		}
		length, ok := d.match(&c)
		if !ok || length > limit-d.end {
			return false
		}
		d.repeat(int(d.rep[0])+1, length)
	}
	return c.pos == packed && c.value == 0
}

// literalRun decodes literals until a match has begun, or the chunk has ended.
// Most of the time goes into it, so it is one function with the range decoder in
// local variables; its loops over bits are written as coder.tree's.
func (d *Decoder) literalRun(c *coder, limit int) {
	rng, value, pos, in := c.rng, c.value, c.pos, c.in
	packed := len(in) - inputSlack
	buf, end, state := d.buf[:limit], d.end, d.state
	posMask, litMask := 1<<d.pb-1, 1<<d.lp-1
	high := 8 - d.lc
	prev := uint32(0)
	if end > d.start {
		prev = uint32(buf[end-1])
	}
	for end < limit && pos <= packed {
		at := end - d.start
		model := &d.isMatch[(int(state)<<4|at&posMask)%len(d.isMatch)]
		p := uint32(*model)
		bound := rng >> modelBits * p
		if value >= bound {
			rng -= bound
			value -= bound
			*model = uint16(p - p>>moveBits)
			if rng < topValue {
				rng <<= 8
				value = value<<8 | uint32(in[pos])
				pos++
			}
			break
		}
		rng = bound
		*model = uint16(p + (modelMax-p)>>moveBits)
		if rng < topValue {
			rng <<= 8
			value = value<<8 | uint32(in[pos])
			pos++
		}
		which := uint32(at&litMask)<<d.lc | prev>>high
		models := (*[literalSize]uint16)(d.literals[which*literalSize:])
		m := uint32(1)
		if state >= litStates {
			// The byte that a match would have brought is a hint, up to the
			// first bit that differs.
			hint := uint32(buf[end-int(d.rep[0])-1]) << 1
			offset := uint32(0x100)
			for m < 0x100 {
				hintBit := hint & offset
				i := offset + hintBit + m
				p := uint32(models[i])
				bound := rng >> modelBits * p
				zero := uint32((uint64(value) - uint64(bound)) >> 32)
				rng = (rng - bound) ^ ((rng-bound)^bound)&zero
				value -= bound &^ zero
				models[i] = uint16(int32(p) - (int32(p)+int32(zero&roundUp))>>moveBits)
				m = m<<1 + 1 + zero
				offset &= hintBit ^ zero
				hint <<= 1
				less := uint32((uint64(rng) - topValue) >> 32)
				rng <<= less & 8
				value = value<<(less&8) | uint32(in[pos])&less
				pos += int(less & 1)
			}
		}
		for m < 0x100 {
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
		prev = m & 0xff
		buf[end] = byte(m)
		end++
		state = nextState[state]
	}
	c.rng, c.value, c.pos = rng, value, pos
	d.end, d.state = end, state
}

// nextState is the state that follows a literal.
var nextState = [states]uint32{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5}

// match decodes a match, whose distance it makes the latest, and returns its
// length; false when it reaches too far back.
func (d *Decoder) match(c *coder) (length int, ok bool) {
	at := d.end - d.start
	s, posState := d.state, at&(1<<d.pb-1)
	afterLiteral := s < litStates
	switch {
	case c.bit(&d.isRep[s]) == 0:
		d.state = choose(afterLiteral, 7, 10)
		d.rep[1], d.rep[2], d.rep[3] = d.rep[0], d.rep[1], d.rep[2]
		length = d.matchLen.decode(c, posState)
		d.rep[0] = d.distance(c, length)
	case c.bit(&d.isRep0[s]) != 0:
		d.state = choose(afterLiteral, 8, 11)
		d.repeated(c, s)
		length = d.repLen.decode(c, posState)
	case c.bit(&d.isRep0Long[s<<4|uint32(posState)]) != 0:
		d.state = choose(afterLiteral, 8, 11)
		length = d.repLen.decode(c, posState)
	default:
		d.state = choose(afterLiteral, 9, 11)
		length = 1
	}
	return length, uint64(d.rep[0]) < uint64(min(at, d.dict))
}

func choose(first bool, a, b uint32) uint32 {
	if first {
		return a
	}
	return b
}

// repeated makes one of the older distances the latest.
func (d *Decoder) repeated(c *coder, s uint32) {
	which := 1
	if c.bit(&d.isRep1[s]) != 0 {
		which = 2 + int(c.bit(&d.isRep2[s]))
	}
	again := d.rep[which]
	copy(d.rep[1:], d.rep[:which])
	d.rep[0] = again
}

// distance decodes a distance, less one.
func (d *Decoder) distance(c *coder, length int) uint32 {
	slot := c.tree(d.slots[min(length-minMatch, distStates-1)][:])
	if slot < 4 {
		return slot
	}
	bits := slot/2 - 1
	base := (2 | slot&1) << bits
	if slot < modelSlots {
		return base + c.reverse(d.special[base-slot:], bits)
	}
	return base + c.direct(bits-alignBits)<<alignBits + c.reverse(d.align[:], alignBits)
}

// decode decodes a length.
func (l *lengths) decode(c *coder, posState int) int {
	switch {
	case c.bit(&l.choice) == 0:
		return minMatch + int(c.tree(l.low[posState][:]))
	case c.bit(&l.choice2) == 0:
		return minMatch + 8 + int(c.tree(l.mid[posState][:]))
	}
	return minMatch + 16 + int(c.tree(l.high[:]))
}

// repeat appends length bytes from so far back; the two may overlap.
func (d *Decoder) repeat(distance, length int) {
	from, to := d.buf[d.end-distance:], d.buf[d.end:d.end+length]
	d.end += length
	if distance >= length {
		copy(to, from)
		return
	}
	for i := range to {
		to[i] = from[i]
	}
}
