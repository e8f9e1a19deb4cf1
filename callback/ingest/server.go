package ingest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/powernode/bootsmith/callback"
)

const (
	requestTimeout = 15 * time.Second
	// maxRequests bounds the requests at a time, and with MaxBody the memory.
	maxRequests = 64
)

// NewServer returns an HTTP server for a Handler with the limits that a server
// in the open needs. It doesn't listen yet.
func NewServer(addr string, h http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// Handler returns the webhooks and the API.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/system/webhooks/disk_image/built/{webhook_id}", s.serveWebhook)
	mux.HandleFunc("POST /api/v1/system/webhooks/disk_image_built", s.serveWebhook)
	for _, route := range s.routes() {
		mux.Handle(route.pattern, s.authorized(route.scope, route.serve))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "not_found", "there is no such resource, or not with this method")
	})
	return limited(mux)
}

// limited bounds the number of requests at a time and the time of each.
func limited(next http.Handler) http.Handler {
	slots := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			w.Header().Set("Retry-After", "1")
			writeError(w, http.StatusServiceUnavailable, "busy", "too many requests at a time")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// serveWebhook answers 200 to whatever it understands, even when it refuses:
// that is the contract of the platform. A failure of its own is a 500, so that
// the sender tries again.
func (s *Service) serveWebhook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, callback.MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		writeJSON(w, http.StatusOK, callback.Response{Success: true, Status: callback.StatusError, Reason: ReasonBodyTooLarge,
			Message: "the body is longer than 1 MiB"})
		return
	case err != nil:
		writeError(w, http.StatusBadRequest, "bad_request", "the body could not be read")
		return
	}
	response, err := s.receive(r.Context(), request{webhookID: r.PathValue("webhook_id"), header: r.Header, body: body})
	if err != nil {
		s.internal(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, response)
}
