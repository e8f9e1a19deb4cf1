package cmdline

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

const (
	digestA = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	digestB = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	good    = "composefs=" + digestA + " bootsmith.roothash=" + digestB + " bootsmith.rootblocks=4711"
)

func bytesOf(t *testing.T, digits string) (d [32]byte) {
	t.Helper()
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParse(t *testing.T) {
	want := Settings{Composefs: bytesOf(t, digestA), RootHash: bytesOf(t, digestB), RootBlocks: 4711, Halt: PowerOff}
	with := func(change func(*Settings)) Settings {
		s := want
		change(&s)
		return s
	}
	for line, want := range map[string]Settings{
		good: want,
		"vmlinuz console=ttyS0 " + good + " quiet\n": want,
		good + " " + good:                             want,
		good + ` "init=/bin/my init"`:                 with(func(s *Settings) { s.Init = "/bin/my init" }),
		good + ` init="/bin/my init"`:                 with(func(s *Settings) { s.Init = "/bin/my init" }),
		good + " -- init=/x " + digestA:               want,
		good + " bootsmith.debug":                     with(func(s *Settings) { s.Debug = true }),
		good + " bootsmith.halt=wait":                 with(func(s *Settings) { s.Halt = Wait }),
		good + " bootsmith.verify=full":               with(func(s *Settings) { s.VerifyFull = true }),
		good + " bootsmith.persist=state":             with(func(s *Settings) { s.Persist = "state" }),
		good + ` other="composefs=` + digestB + ` x"`: want,
	} {
		got, err := Parse(line)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v, %v\nwant %+v", line, got, err, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"empty", "", "has no composefs="},
		{"no root hash", "composefs=" + digestA, "has no bootsmith.roothash="},
		{"no blocks", "composefs=" + digestA + " bootsmith.roothash=" + digestB, "has no bootsmith.rootblocks="},
		{"upper case", strings.ToUpper(digestA), "has no composefs="},
		{"upper-case digits", strings.Replace(good, "abcdef ", "ABCDEF ", 1), "composefs="},
		{"short digest", strings.Replace(good, "ef ", " ", 1), "is not valid"},
		{"long digest", strings.Replace(good, "ef ", "efef ", 1), "is not valid"},
		{"no value", strings.Replace(good, digestA, "", 1), "is not valid"},
		{"two digests", good + " composefs=" + digestB, "has both"},
		{"hexadecimal blocks", strings.Replace(good, "4711", "0x4711", 1), "is not valid"},
		{"signed blocks", strings.Replace(good, "4711", "+4711", 1), "is not valid"},
		{"zero-led blocks", strings.Replace(good, "4711", "04711", 1), "is not valid"},
		{"one block", strings.Replace(good, "4711", "1", 1), "is not valid"},
		{"too many blocks", strings.Replace(good, "4711", "9223372036854775807", 1), "is not valid"},
		{"halt", good + " bootsmith.halt=panic", "use poweroff, reboot or wait"},
		{"verify", good + " bootsmith.verify", "use full"},
		{"no persist", good + " bootsmith.persist", "give the name of a partition"},
		{"empty persist", good + " bootsmith.persist=", "give the name of a partition"},
		{"long persist", good + " bootsmith.persist=abcdefghijklmnopq", "give the name of a partition"},
		{"two persists", good + " bootsmith.persist=a bootsmith.persist=b", "has both"},
	} {
		if _, err := Parse(c.line); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// How to halt has to be known for exactly the lines that are wrong.
func TestParseErrorKeepsHalt(t *testing.T) {
	s, err := Parse("bootsmith.debug bootsmith.halt=reboot composefs=x")
	if err == nil || !s.Debug || s.Halt != Reboot {
		t.Errorf("got %+v, %v", s, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add(`"a=b c" d="e f" "g" h" i -- j`)
	f.Fuzz(func(t *testing.T, line string) {
		s, err := Parse(line)
		if err != nil {
			return
		}
		if s.RootBlocks < minBlocks || s.RootBlocks > maxBlocks {
			t.Errorf("%d blocks", s.RootBlocks)
		}
		for _, d := range [][32]byte{s.Composefs, s.RootHash} {
			if !strings.Contains(line, hex.EncodeToString(d[:])) {
				t.Errorf("digest %x is not in %q", d, line)
			}
		}
	})
}

// Only the kernel's own white space ends a parameter: other bytes that are no
// valid UTF-8 are part of it.
func TestSplitKnowsBytesNotCharacters(t *testing.T) {
	params := split("\xa0a=1\xffb \xfe")
	if len(params) != 2 || params[0].value != "1\xffb" || params[1].key != "\xfe" {
		t.Errorf("split = %+v", params)
	}
}
