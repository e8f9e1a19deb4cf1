package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/powernode/bootsmith/callback/ingest"
)

// shutdownLimit is how long open requests may take when the server ends.
const shutdownLimit = 10 * time.Second

// Serve answers requests on the listener and works on publications until ctx
// is done or one of the two fails.
func Serve(ctx context.Context, service *ingest.Service, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := ingest.NewServer(l.Addr().String(), service.Handler())
	served, worked := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	go func() { worked <- service.Run(ctx) }()

	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- nil
	case err = <-worked:
		worked <- nil
	}
	cancel()
	stop, done := context.WithTimeout(context.Background(), shutdownLimit)
	defer done()
	err = errors.Join(err, server.Shutdown(stop), <-worked)
	if serr := <-served; serr != nil && !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("serving the ingest API: %w", err)
	}
	return nil
}
