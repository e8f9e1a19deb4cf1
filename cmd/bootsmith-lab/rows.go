package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/powernode/bootsmith/builder/manifest"
	"github.com/powernode/bootsmith/cmd/internal/cli"
	"github.com/powernode/bootsmith/publish"
)

// row is one publication, as the ingest API lists it.
type row struct {
	Family           string `json:"artifact_family"`
	Arch             string `json:"arch"`
	SizeBytes        int64  `json:"size_bytes"`
	OCIDigest        string `json:"oci_digest"`
	Status           string `json:"status"`
	PublicationError string `json:"publication_error"`
	ComposefsDigest  string `json:"composefs_digest"`
	Current          bool   `json:"current"`
}

const (
	pollInterval = 100 * time.Millisecond
	maxList      = 4 << 20 // bytes
)

// awaitPublished asks the ingest API until every publication is published or
// one has failed, and returns them in the order of pubs.
func (l *lab) awaitPublished(ctx context.Context, pubs *publish.Publications, limit time.Duration) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		known, err := l.list(ctx, pubs.GitSHA)
		if err != nil {
			return nil, err
		}
		rows, waiting := match(pubs, known)
		if waiting == 0 {
			return rows, nil
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %d publications to be verified: %w", waiting, ctx.Err())
		}
	}
}

// match pairs publications with the API's rows and counts those that are still
// on their way.
func match(pubs *publish.Publications, known []row) (rows []row, waiting int) {
	for _, p := range pubs.Publications {
		found := row{Family: p.Family, Arch: p.Arch, Status: "unknown"}
		for _, k := range known {
			if k.OCIDigest == p.OCIDigest && k.Family == p.Family && k.Arch == p.Arch {
				found = k
			}
		}
		if found.Status != "published" && found.Status != "failed" {
			waiting++
		}
		rows = append(rows, found)
	}
	return rows, waiting
}

func (l *lab) list(ctx context.Context, revision string) ([]row, error) {
	url := l.api + "/api/v1/system/node_platforms/" + l.platformID + "/disk_image_publications?limit=200&git_sha=" + revision
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("listing publications: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("listing publications: the API answered %s", resp.Status)
	}
	var page struct {
		Items []row `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxList)).Decode(&page); err != nil {
		return nil, fmt.Errorf("listing publications: %w", err)
	}
	return page.Items, nil
}

// measure sets the rows' sizes to those of all files of each family, which the
// API doesn't know: it is told of the file that stands for the family.
func measure(rows []row, output string) error {
	for i, r := range rows {
		m, err := manifest.Read(filepath.Join(output, r.Arch))
		if err != nil {
			return err
		}
		rows[i].SizeBytes = m.FamilySize(r.Family)
	}
	return nil
}

func printTable(w io.Writer, rows []row) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ARCH\tFAMILY\tMIB\tDIGEST\tSTATUS\tROOT DIGEST")
	for _, r := range rows {
		status := r.Status
		if r.PublicationError != "" {
			status += ": " + r.PublicationError
		}
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%s\t%s\t%s\n", r.Arch, r.Family, float64(r.SizeBytes)/(1<<20), r.OCIDigest, status, short(r.ComposefsDigest))
	}
	return t.Flush()
}

// short returns enough of a digest to compare it by eye.
func short(digest string) string { return digest[:min(len(digest), 16)] }

// printAddresses says where the running services are and what to try.
func (l *lab) printAddresses(env cli.Env, pubs *publish.Publications) {
	identity, issuer := l.patterns()
	first := pubs.Publications[0]
	fmt.Fprintln(env.Stdout, "\nThe services run until Ctrl-C.")
	printStack(env, l.stack)
	fmt.Fprintf(env.Stdout, "ingest API      %s\n", l.api)
	fmt.Fprintf(env.Stdout, "\nTry:\n")
	fmt.Fprintf(env.Stdout, "  cosign verify --trusted-root %s --certificate-identity-regexp '^%s$' --certificate-oidc-issuer-regexp '^%s$' %s\n", l.stack.TrustedRootPath, identity, issuer, first.OCIRef)
	fmt.Fprintf(env.Stdout, "  oras discover --plain-http %s\n", first.OCIRef)
	fmt.Fprintf(env.Stdout, "  oras pull --plain-http %s\n", first.OCIRef)
	fmt.Fprintf(env.Stdout, "  curl -H 'Authorization: Bearer %s' %s/api/v1/system/disk_image_publications\n", l.token, l.api)
}
