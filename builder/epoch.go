package builder

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
)

// maxEpoch is the latest time stamp that every format holds: cpio's have 32 bits.
const maxEpoch = math.MaxUint32

// addEpoch sets the epoch and returns the definition's commit.
func (p *Plan) addEpoch(ctx context.Context, c Config, r Request) (Commit, error) {
	commit, err := FindCommit(ctx, c.Exec, r.File.Path)
	if err != nil && (r.SourceDateEpoch == "" || r.Revision == "") {
		return commit, err
	}
	switch {
	case r.SourceDateEpoch != "":
		if p.Epoch, err = strconv.ParseInt(r.SourceDateEpoch, 10, 64); err != nil || p.Epoch < 0 || p.Epoch > maxEpoch {
			return commit, fault.Inputf("reading SOURCE_DATE_EPOCH %q: not a number of seconds up to %d", r.SourceDateEpoch, uint32(maxEpoch))
		}
	case commit.Time > 0:
		p.Epoch = commit.Time
	default:
		for _, t := range p.Targets {
			created, err := rootDate(ctx, c, r.File, t)
			if err != nil {
				return commit, err
			}
			p.Epoch = max(p.Epoch, t.Packages.newest().Unix(), created)
		}
		if p.Epoch == 0 {
			return commit, fault.Inputf("choosing the build's time stamp: no input has a date").
				WithFix("set SOURCE_DATE_EPOCH, or track %s with git", r.File.Path)
		}
	}
	return commit, nil
}

// addRevision sets the revision.
func (p *Plan) addRevision(ctx context.Context, c Config, commit Commit, r Request) error {
	p.Revision = r.Revision
	if p.Revision == "" && commit.SHA != "" {
		p.Revision = commit.SHA
		changed, err := hasChanges(ctx, c.Exec, r.File.Path)
		if err != nil {
			return err
		}
		if changed {
			c.Report(Event{Time: c.Now(), Stage: "revision", State: Progress, Detail: "files of the definition are not as they were committed; the artifacts name commit " + commit.SHA + " all the same"})
		}
	}
	if p.Revision == "" {
		p.Revision = p.seed()[:40]
	}
	if !isRevision(p.Revision) {
		return fault.Inputf("reading the revision %q: not a commit", p.Revision).WithFix("give 7 to 64 hex digits")
	}
	return nil
}

func isRevision(s string) bool {
	return len(s) >= 7 && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}
