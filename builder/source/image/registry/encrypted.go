package registry

import (
	"fmt"
	"net"
	"net/http"
)

// encrypted refuses to speak plain HTTP to other hosts. The client would do so
// with private addresses and .local names that don't answer by HTTPS in time.
type encrypted struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (e encrypted) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	if r.URL.Scheme == "https" || host == "localhost" || net.ParseIP(host).IsLoopback() {
		return e.base.RoundTrip(r)
	}
	if r.Body != nil {
		r.Body.Close()
	}
	return nil, fmt.Errorf("%s is asked by plain HTTP, which is not allowed", r.URL.Host)
}
