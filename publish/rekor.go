package publish

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekor "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxLogEntry bounds a log's answer, in bytes.
const maxLogEntry = 1 << 20

// rekorV2 adds entries to a Rekor v2 log. sigstore-go's own client repeats
// nothing and hides the status.
type rekorV2 struct {
	url    string
	client *http.Client
}

// Add implements sign.RekorV2Client: POST /api/v2/log/entries, which answers
// when the entry is in the log.
func (r *rekorV2) Add(ctx context.Context, entry any) (*protorekor.TransparencyLogEntry, error) {
	record, ok := entry.(*rekor.HashedRekordRequestV002)
	if !ok {
		return nil, fmt.Errorf("adding a log entry: the type %T is not supported", entry)
	}
	body, err := protojson.Marshal(&rekor.CreateEntryRequest{
		Spec: &rekor.CreateEntryRequest_HashedRekordRequestV002{HashedRekordRequestV002: record},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a log entry: %w", err)
	}
	url := strings.TrimSuffix(r.url, "/") + "/api/v2/log/entries"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxLogEntry))
	if err != nil {
		return nil, fmt.Errorf("reading the log's answer: %w", err)
	}
	if resp.StatusCode != http.StatusCreated {
		return nil, &StatusError{Method: req.Method, Host: req.URL.Host, Path: req.URL.Path, Status: resp.StatusCode, Body: string(raw)}
	}
	added := &protorekor.TransparencyLogEntry{}
	if err := protojson.Unmarshal(raw, added); err != nil {
		return nil, fmt.Errorf("reading the log's answer: %w", err)
	}
	return added, nil
}
