package lzma2

// Numbers of the LZMA specification.
const (
	states    = 12 // of what came last; those below litStates: a literal
	litStates = 7

	posStatesMax = 16
	literalSize  = 0x300 // models of one literal coder
	literalMax   = literalSize << 4

	minMatch = 2

	distStates = 4
	slotBits   = 6
	modelSlots = 14 // slots from here on have bits without a model
	alignBits  = 4
	// specialModels is the number of models for the low bits of distances
	// below modelSlots; the first is not used.
	specialModels = 115
)

// lzma is the state of the LZMA decoder: the models, which are probabilities
// that a bit is 0, out of 2048, and what the models depend on.
type lzma struct {
	lc, lp, pb uint
	state      uint32
	rep        [4]uint32 // the latest distances, less one

	isMatch    [states << 4]uint16
	isRep      [states]uint16
	isRep0     [states]uint16
	isRep1     [states]uint16
	isRep2     [states]uint16
	isRep0Long [states << 4]uint16

	slots   [distStates][1 << slotBits]uint16
	special [specialModels]uint16
	align   [1 << alignBits]uint16

	matchLen, repLen lengths
	literals         [literalMax]uint16
}

// lengths are the models of match lengths.
type lengths struct {
	choice, choice2 uint16
	low, mid        [posStatesMax][1 << 3]uint16
	high            [1 << 8]uint16
}

// setProps takes the property byte: (pb*5 + lp)*9 + lc. LZMA2 allows four bits
// for lc and lp together.
func (l *lzma) setProps(props byte) bool {
	if props > (4*5+4)*9+8 {
		return false
	}
	l.lc, l.lp, l.pb = uint(props%9), uint(props/9%5), uint(props/45)
	return l.lc+l.lp <= 4
}

// resetState makes the models know nothing.
func (l *lzma) resetState() {
	l.state = 0
	l.rep = [4]uint32{}
	for _, models := range [][]uint16{
		l.isMatch[:], l.isRep[:], l.isRep0[:], l.isRep1[:], l.isRep2[:], l.isRep0Long[:],
		l.special[:], l.align[:], l.literals[:literalSize<<(l.lc+l.lp)],
	} {
		unknown(models)
	}
	for i := range l.slots {
		unknown(l.slots[i][:])
	}
	l.matchLen.reset()
	l.repLen.reset()
}

func (l *lengths) reset() {
	l.choice, l.choice2 = modelInit, modelInit
	for i := range l.low {
		unknown(l.low[i][:])
		unknown(l.mid[i][:])
	}
	unknown(l.high[:])
}

func unknown(models []uint16) {
	for i := range models {
		models[i] = modelInit
	}
}
