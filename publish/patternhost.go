package publish

import (
	"fmt"
	"regexp/syntax"
	"slices"
)

// strangersHost begins names that a stranger can choose the rest of.
const strangersHost = "https://stranger.invalid/"

// hostWarning says that a pattern also matches names on a host of anybody's
// choice, such as `.*/acme/images/.*` does; empty when it doesn't.
func hostWarning(name, pattern string) string {
	if !mayBeginWith(pattern, strangersHost) {
		return ""
	}
	return fmt.Sprintf("the %s pattern %q also matches names on other hosts, which may begin with %q: begin it with a host", name, pattern, strangersHost)
}

// mayBeginWith tells whether some string that a pattern matches as a whole begins
// with a prefix. It runs the pattern's program over the prefix and looks whether
// a thread is left.
func mayBeginWith(pattern, prefix string) bool {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return false
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return false
	}
	threads := []uint32{uint32(prog.Start)}
	before := rune(-1)
	for _, r := range prefix {
		var next []uint32
		for _, pc := range reach(prog, threads, syntax.EmptyOpContext(before, r)) {
			inst := &prog.Inst[pc]
			if inst.Op != syntax.InstMatch && inst.MatchRune(r) && !slices.Contains(next, inst.Out) {
				next = append(next, inst.Out)
			}
		}
		threads, before = next, r
	}
	return len(threads) > 0
}

// reach follows what needs no character and returns the instructions that match
// one, or the end.
func reach(prog *syntax.Prog, from []uint32, at syntax.EmptyOp) (stops []uint32) {
	seen := map[uint32]bool{}
	stack := slices.Clone(from)
	for len(stack) > 0 {
		pc := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch inst := &prog.Inst[pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, inst.Out, inst.Arg)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, inst.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^at == 0 {
				stack = append(stack, inst.Out)
			}
		case syntax.InstFail:
		default:
			stops = append(stops, pc)
		}
	}
	return stops
}
