package lzma2

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	library "github.com/ulikunitz/xz/lzma"
)

// sample returns n bytes with runs, copies from near and far, and noise.
func sample(n int) []byte {
	rng := rand.New(rand.NewChaCha8([32]byte{1}))
	b := make([]byte, 0, n+1000)
	for len(b) < n {
		switch length := 1 + rng.IntN(900); rng.IntN(4) {
		case 0:
			b = append(b, bytes.Repeat([]byte{byte(rng.Uint32())}, length)...)
		case 1:
			for range length {
				b = append(b, byte(rng.Uint32()))
			}
		case 2:
			for range length {
				b = append(b, "etaoin shrdlu"[rng.IntN(13)])
			}
		default:
			from := 0
			if len(b) > 0 {
				from = rng.IntN(len(b))
			}
			b = append(b, b[from:min(from+length, len(b))]...)
		}
	}
	return b[:n]
}

// pack compresses with the library.
func pack(t testing.TB, data []byte, config library.Writer2Config) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := config.NewWriter2(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unpack decodes at most limit bytes.
func unpack(d *Decoder, limit int) ([]byte, error) {
	var all []byte
	for len(all) < limit {
		chunk, err := d.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, chunk...)
	}
	return all, nil
}

// TestReadsWhatTheLibraryWrites decodes into a buffer for all, and into the
// decoder's own, which it has to use again.
func TestReadsWhatTheLibraryWrites(t *testing.T) {
	data := sample(700 << 10)
	own := new(Decoder)
	for name, config := range map[string]library.Writer2Config{
		"defaults":         {DictCap: 1 << 20},
		"small dictionary": {DictCap: library.MinDictCap},
		"text":             {DictCap: 1 << 16, Properties: &library.Properties{LC: 4, LP: 0, PB: 0}},
		"aligned":          {DictCap: 1 << 16, Properties: &library.Properties{LC: 0, LP: 2, PB: 4}},
	} {
		packed := pack(t, data, config)
		own.Reset(bytes.NewReader(packed), config.DictCap)
		if got, err := unpack(own, len(data)+1); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if limit := 2*config.DictCap + MaxChunk + slideAlign; len(own.buf) > limit {
			t.Errorf("%s: the decoder took %d bytes, more than %d", name, len(own.buf), limit)
		}
		into, buf := new(Decoder), make([]byte, len(data))
		into.ResetInto(buf, bytes.NewReader(packed), config.DictCap)
		if got, err := unpack(into, len(data)+1); err != nil || !bytes.Equal(got, data) || !bytes.Equal(buf, data) {
			t.Errorf("%s, into a buffer: %d bytes, %v", name, len(got), err)
		}
		into.ResetInto(buf[1:], bytes.NewReader(packed), config.DictCap)
		if _, err := unpack(into, len(data)+1); err == nil {
			t.Errorf("%s: a buffer that is too small was enough", name)
		}
	}
}

// chunk returns a chunk that isn't compressed.
func chunk(control byte, data string) string {
	return string([]byte{control, byte((len(data) - 1) >> 8), byte(len(data) - 1)}) + data
}

func TestStreams(t *testing.T) {
	lzma := string(pack(t, []byte("abcabcabcabcabcabcabcabc"), library.Writer2Config{}))
	end := "\x00"
	for name, c := range map[string]struct {
		packed, want string
		ok           bool
	}{
		"nothing":                     {end, "", true},
		"stored":                      {chunk(1, "one") + chunk(2, "two") + end, "onetwo", true},
		"LZMA after stored":           {chunk(1, "one") + lzma, "oneabcabcabcabcabcabcabcabc", true},
		"no end":                      {chunk(1, "one"), "one", false},
		"cut":                         {chunk(1, "one")[:5], "", false},
		"no dictionary":               {chunk(2, "one") + end, "", false},
		"no properties":               {chunk(1, "one") + "\xa0" + lzma[1:5] + lzma[6:], "one", false},
		"unknown control":             {chunk(1, "one") + chunk(3, "two") + end, "one", false},
		"wrong properties":            {lzma[:5] + "\xff" + lzma[6:], "", false},
		"first byte of LZMA not zero": {lzma[:6] + "\x01" + lzma[7:], "", false},
		"match from before the start": {"\xe0\x00\x02\x00\x06\x5d\x00\xff\xff\xff\xff\x00\x00\x00", "", false},
	} {
		d := new(Decoder)
		d.Reset(bytes.NewReader([]byte(c.packed)), 1<<16)
		got, err := unpack(d, 1000)
		if string(got) != c.want || (err == nil) != c.ok {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestDictSize(t *testing.T) {
	for property, want := range map[byte]int64{0: 4096, 1: 6144, 2: 8192, 22: 8 << 20, 39: 3 << 30, 40: 1<<32 - 1} {
		if got, err := DictSize(property); got != want || err != nil {
			t.Errorf("%d: %d, %v", property, got, err)
		}
	}
	if _, err := DictSize(41); err == nil {
		t.Error("41 was taken")
	}
}

// FuzzDecoder compares with the library what both accept: it doesn't look at
// all that is wrong.
func FuzzDecoder(f *testing.F) {
	data := sample(3000)
	for _, config := range []library.Writer2Config{{DictCap: 1 << 12}, {Properties: &library.Properties{LC: 0, LP: 2, PB: 4}}} {
		packed := pack(f, data, config)
		f.Add(packed)
		for _, at := range []int{0, 1, 3, 5, 6, 20, len(packed) / 2, len(packed) - 1} {
			bad := bytes.Clone(packed)
			bad[at] ^= 0x11
			f.Add(bad)
		}
	}
	f.Add([]byte(chunk(1, "one") + chunk(2, "two") + "\x00"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		const dict, limit = 1 << 12, 1 << 22
		d := new(Decoder)
		d.Reset(bytes.NewReader(packed), dict)
		got, err := unpack(d, limit)
		into := new(Decoder)
		into.ResetInto(make([]byte, len(got)), bytes.NewReader(packed), dict)
		if again, err2 := unpack(into, limit); err == nil && (err2 != nil || !bytes.Equal(again, got)) {
			t.Fatalf("%d bytes, but %d bytes and %v into a buffer", len(got), len(again), err2)
		}
		if err != nil || len(got) >= limit {
			return
		}
		theirs, err := library.Reader2Config{DictCap: dict}.NewReader2(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(theirs)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes; the library reads %d, %v", len(got), len(want), err)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	for name, data := range map[string][]byte{"mixed": sample(1 << 20), "noise": noise(1 << 20)} {
		packed := pack(b, data, library.Writer2Config{DictCap: 1 << 20})
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			d, buf := new(Decoder), make([]byte, len(data))
			for b.Loop() {
				d.ResetInto(buf, bytes.NewReader(packed), 1<<20)
				if _, err := unpack(d, len(data)+1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// noise returns bytes that compress a little.
func noise(n int) []byte {
	rng := rand.New(rand.NewChaCha8([32]byte{2}))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32() & rng.Uint32())
	}
	return b
}
