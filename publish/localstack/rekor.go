package localstack

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	pbcommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	pbrekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/rekor-tiles/v2/pkg/types/hashedrekord"
	"github.com/sigstore/sigstore/pkg/signature"
	logformat "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/storage/posix"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	// logOrigin names the log in its checkpoints. Verifiers compare it with the
	// host name of the log's URL in the trusted root.
	logOrigin = "rekor.localhost"
	// checkpointInterval is the shortest that the POSIX storage takes; it is
	// most of the time a signature needs.
	checkpointInterval = 100 * time.Millisecond
	// pollInterval is how often waiting requests look for a new checkpoint.
	pollInterval = 20 * time.Millisecond
)

// rekor is a Rekor v2 log: upstream's entry types over a Tessera log on disk.
// Upstream's own assembly of the two is in internal packages.
type rekor struct {
	key        *ecdsa.PrivateKey
	id         []byte // log ID
	algorithms *signature.AlgorithmRegistryConfig
	files      fs.FS
	add        tessera.AddFn
	tile       client.TileFetcherFunc
	awaiter    *tessera.PublicationAwaiter
	ctx        context.Context // ends when the stack stops
	stop       func(context.Context) error
}

// openRekor opens the log in the state directory. ctx ends its goroutines.
func openRekor(ctx context.Context, k keyring) (*rekor, error) {
	key, err := k.ecdsaKey("rekor.pem")
	if err != nil {
		return nil, err
	}
	r := &rekor{key: key, files: os.DirFS(k.state.path("rekor")), ctx: ctx}
	if _, r.id, err = note.KeyHash(logOrigin, key.Public()); err != nil {
		return nil, fmt.Errorf("computing the log ID: %w", err)
	}
	if r.algorithms, err = signature.NewAlgorithmRegistryConfig(clientAlgorithms()); err != nil {
		return nil, fmt.Errorf("configuring Rekor's algorithms: %w", err)
	}
	signer, err := signature.LoadECDSASigner(key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("loading the log key: %w", err)
	}
	checkpoints, err := note.NewNoteSigner(ctx, logOrigin, signer)
	if err != nil {
		return nil, fmt.Errorf("preparing the checkpoint signer: %w", err)
	}
	driver, err := posix.New(ctx, posix.Config{Path: k.state.path("rekor")})
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	appender, stop, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(checkpoints).
		WithCheckpointInterval(checkpointInterval).
		WithBatching(tessera.DefaultBatchMaxSize, 5*time.Millisecond).
		WithAntispam(256, nil))
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	r.add, r.stop, r.tile = appender.Add, stop, reader.ReadTile
	r.awaiter = tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, pollInterval)
	return r, nil
}

// routes registers the log under /rekor/.
func (r *rekor) routes(mux *http.ServeMux, wrap func(http.Handler) http.Handler) {
	mux.Handle("POST /rekor/api/v2/log/entries", wrap(http.HandlerFunc(r.create)))
	mux.Handle("GET /rekor/api/v2/", http.StripPrefix("/rekor/api/v2/", http.HandlerFunc(r.read)))
}

// create logs an entry and answers 201 with its TransparencyLogEntry as soon as
// a checkpoint commits to it; 409 for an entry that the log has already.
func (r *rekor) create(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		rekorError(w, http.StatusBadRequest, 3, err)
		return
	}
	leaf, err := r.leaf(body)
	if err != nil {
		rekorError(w, http.StatusBadRequest, 3, err)
		return
	}
	entry, dup, err := r.log(leaf)
	switch {
	case err != nil:
		rekorError(w, http.StatusInternalServerError, 13, err)
		return
	case dup:
		w.Header().Set("X-Log-Index", strconv.FormatInt(entry.LogIndex, 10))
		rekorError(w, http.StatusConflict, 6,
			fmt.Errorf("an equivalent entry already exists in the transparency log with index %d", entry.LogIndex))
		return
	}
	out, err := protojson.Marshal(entry)
	if err != nil {
		rekorError(w, http.StatusInternalServerError, 13, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	w.Write(out)
}

// leaf checks a request, its signature included, and returns the log entry in
// canonical JSON (RFC 8785).
func (r *rekor) leaf(body []byte) ([]byte, error) {
	var request protobuf.CreateEntryRequest
	if err := protojson.Unmarshal(body, &request); err != nil {
		return nil, fmt.Errorf("reading the entry: %w", err)
	}
	spec := request.GetHashedRekordRequestV002()
	if spec == nil {
		return nil, fmt.Errorf("reading the entry: the type must be hashedrekord")
	}
	entry, err := hashedrekord.ToLogEntry(spec, r.algorithms)
	if err != nil {
		return nil, fmt.Errorf("checking the entry: %w", err)
	}
	plain, err := protojson.Marshal(entry)
	if err != nil {
		return nil, fmt.Errorf("encoding the entry: %w", err)
	}
	return jsoncanonicalizer.Transform(plain)
}

// log appends a leaf and waits for its inclusion proof. It waits under the
// stack's context, not the request's: the awaiter would hand one client's
// cancellation to everybody who waits.
func (r *rekor) log(leaf []byte) (entry *pbrekor.TransparencyLogEntry, dup bool, err error) {
	index, signed, err := r.awaiter.Await(r.ctx, r.add(r.ctx, tessera.NewEntry(leaf)))
	if err != nil {
		return nil, false, fmt.Errorf("appending to the log: %w", err)
	}
	if index.IsDup {
		return &pbrekor.TransparencyLogEntry{LogIndex: int64(index.Index)}, true, nil
	}
	var checkpoint logformat.Checkpoint
	if _, err := checkpoint.Unmarshal(signed); err != nil {
		return nil, false, fmt.Errorf("reading the checkpoint: %w", err)
	}
	proofs, err := client.NewProofBuilder(r.ctx, checkpoint.Size, r.tile)
	if err != nil {
		return nil, false, fmt.Errorf("preparing the inclusion proof: %w", err)
	}
	hashes, err := proofs.InclusionProof(r.ctx, index.Index)
	if err != nil {
		return nil, false, fmt.Errorf("building the inclusion proof: %w", err)
	}
	return &pbrekor.TransparencyLogEntry{
		LogIndex:          int64(index.Index),
		LogId:             &pbcommon.LogId{KeyId: r.id},
		KindVersion:       &pbrekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		CanonicalizedBody: leaf,
		InclusionProof: &pbrekor.InclusionProof{
			LogIndex: int64(index.Index), TreeSize: int64(checkpoint.Size),
			RootHash: checkpoint.Hash, Hashes: hashes,
			Checkpoint: &pbrekor.Checkpoint{Envelope: string(signed)},
		},
	}, false, nil
}

// read serves the checkpoint and the tiles (C2SP tlog-tiles), and nothing else
// of the log's directory.
func (r *rekor) read(w http.ResponseWriter, req *http.Request) {
	name := req.URL.Path
	if name != "checkpoint" && !strings.HasPrefix(name, "tile/") || !fs.ValidPath(name) {
		http.NotFound(w, req)
		return
	}
	if info, err := fs.Stat(r.files, name); err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeFileFS(w, req, r.files, name)
}

// rekorError answers as grpc-gateway does, with a gRPC code.
func rekorError(w http.ResponseWriter, status, code int, err error) {
	writeJSON(w, status, map[string]any{"code": code, "message": err.Error(), "details": []any{}})
}
