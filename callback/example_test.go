package callback_test

import (
	"fmt"
	"net/http"
	"time"

	"github.com/powernode/bootsmith/callback"
)

// A receiver verifies the raw body before it looks into it.
func ExampleVerify() {
	const secret = callback.Secret("correct horse battery staple")
	body := []byte(`{"platform_name":"debian-13-server","arch":"arm64"}`)
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

	header := http.Header{}
	if err := callback.Sign(header, body, callback.MessageID(body), now, secret); err != nil {
		fmt.Println(err)
		return
	}

	_, err := callback.Verify(header, body, now.Add(time.Minute), callback.Tolerance, secret)
	fmt.Println("a minute later:", err)
	_, err = callback.Verify(header, body, now.Add(time.Hour), callback.Tolerance, secret)
	fmt.Println("an hour later:", err)
	_, err = callback.Verify(header, body[1:], now, callback.Tolerance, secret)
	fmt.Println("another body:", err)
	// Output:
	// a minute later: <nil>
	// an hour later: the signed timestamp is too far from the receiver's clock
	// another body: the signature is missing, malformed or of another secret or body
}
