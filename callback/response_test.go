package callback

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever a platform answers, what is told of it fits on a line and is
// printable.
func FuzzParseResponse(f *testing.F) {
	f.Add([]byte(`{"success":true,"status":"queued","publication_id":"7"}`))
	f.Add([]byte(`{"success":true,"status":"error","reason":"bad_signature","message":"a\nb","publication_id":7}`))
	f.Add([]byte(`{"status":"ok","publication_id":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseResponse(body)
		if err != nil {
			return
		}
		for _, s := range []string{r.Status, r.Reason, r.Message, r.PublicationID} {
			if !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r\x1b\x00") {
				t.Errorf("%q", s)
			}
		}
	})
}
