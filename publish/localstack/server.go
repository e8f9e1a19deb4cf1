package localstack

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	fulciolog "github.com/sigstore/fulcio/pkg/log"
	"go.uber.org/zap"
	"k8s.io/klog/v2"

	"github.com/powernode/bootsmith/builder/fault"
)

const (
	// apiTimeout is the longest that a signing service may take.
	apiTimeout = 30 * time.Second
	// apiBody is far above a certificate chain or a log entry.
	apiBody = 1 << 20
)

// silenceUpstream turns off the process-wide loggers of Fulcio (standard
// output) and Tessera (standard error), once, so that two stacks may start at
// the same time.
var silenceUpstream = sync.OnceFunc(func() {
	fulciolog.Logger = zap.NewNop().Sugar()
	klog.SetLogger(logr.Discard())
})

// listen opens an address, which must be a loopback one unless any is allowed.
// With port 0 it prefers the port of the last start, so that references to the
// registry keep working.
func listen(addr string, state stateDir, any bool) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fault.Inputf("parsing address %q: %w", addr, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !any && !ip.IsLoopback() {
		return nil, fault.Inputf("listening on %q: the local stack serves loopback addresses only, as long as it certifies whoever asks", addr).
			WithFix("use 127.0.0.1:PORT, or name an OIDC issuer")
	}
	if port == "0" || port == "" {
		port = "0"
		if l, err := net.Listen("tcp", net.JoinHostPort(host, lastPort(state))); err == nil {
			return l, savePort(l, state)
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fault.Inputf("listening on %q: %w", addr, err).WithFix("choose another port, or 0 for any free one")
	}
	return l, savePort(l, state)
}

// lastPort returns "0" when there was no last start.
func lastPort(state stateDir) string {
	data, err := readSmall(state.path("port"))
	if err != nil {
		return "0"
	}
	port, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 16)
	if err != nil {
		return "0"
	}
	return strconv.FormatUint(port, 10)
}

func savePort(l net.Listener, state stateDir) error {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err == nil {
		err = state.write(state.path("port"), []byte(port+"\n"))
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return nil
}

// freshConns knows the connections that have not sent a request yet. Clients
// dial more than they use, and http.Server.Shutdown waits five seconds for each.
type freshConns struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
	done  bool
}

// track is the server's ConnState hook.
func (f *freshConns) track(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(f.conns, c)
	case f.done:
		c.Close()
	default:
		if f.conns == nil {
			f.conns = map[net.Conn]bool{}
		}
		f.conns[c] = true
	}
}

// close closes them, and those that are yet to come.
func (f *freshConns) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
	for c := range f.conns {
		c.Close()
	}
}

// hostOf returns the host name of a URL, "" when it has none.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// isLoopbackName tells whether a host name or address is this machine's own.
func isLoopbackName(host string) bool {
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	return net.ParseIP(name).IsLoopback() || name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// localOnly refuses requests for a host name that is neither local nor the public
// one. A web page can point a name of its own at 127.0.0.1, but then that name is
// in the request. Numeric addresses pass: virtual machines reach the host's
// loopback by one.
func localOnly(next http.Handler, public string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
		if net.ParseIP(host) == nil && !isLoopbackName(host) && (public == "" || !strings.EqualFold(host, public)) {
			http.Error(w, fmt.Sprintf("this server does not serve %q", host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// api bounds the body and the time of a signing service's request.
func api(next http.Handler) http.Handler {
	bounded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, apiBody)
		next.ServeHTTP(w, r)
	})
	return http.TimeoutHandler(bounded, apiTimeout, "the local stack took too long\n")
}

// writeClientFiles writes what clients are pointed at: the two JSON files for
// sigstore-go and cosign 3, and the SCT key for cosign 2, which takes that one
// and the chains fulcio.pem and tsa.pem through its environment.
func writeClientFiles(state stateDir, url string, issuers []string, a authority, s *sctSigner, t *tsa, r *rekor) error {
	trusted, err := trustedRoot(a, s, t, r)
	if err != nil {
		return err
	}
	signing, err := signingConfig(url, a, issuers)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"trusted_root.json", trusted}, {"signing_config.json", signing}, {"ctlog.pub", publicPEM(s.spk)},
	} {
		// Left alone when equal, so that watchers see no change at a restart.
		old, err := readSmall(state.path(f.name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if string(old) == string(f.data) {
			continue
		}
		if err := state.write(state.path(f.name), f.data); err != nil {
			return err
		}
	}
	return nil
}
