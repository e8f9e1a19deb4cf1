package cli

import (
	"fmt"
	"io"
	"slices"

	"github.com/powernode/bootsmith/families/inspect"
)

// treeFacts are the facts that a tree shows, behind the name and the kind.
func treeFacts() []string {
	return []string{"signature", "signed by", "claims to state", "claims to be signed by", "packages", "components", "root digest"}
}

// writeTree writes a report as a tree with one line for each thing.
func writeTree(w io.Writer, r inspect.Report, first, rest string) error {
	line := first + printable(r.Name) + "  " + printable(r.Kind)
	if r.Size > 0 {
		line += ", " + bytesText(r.Size)
	}
	for _, f := range r.Facts {
		if slices.Contains(treeFacts(), f.Name) && f.Value != notVerified {
			line += ", " + f.Name + " " + printable(f.Value)
		}
	}
	if _, err := fmt.Fprintln(w, line); err != nil {
		return err
	}
	for i, part := range r.Parts {
		branch, below := "├─ ", "│  "
		if i == len(r.Parts)-1 {
			branch, below = "└─ ", "   "
		}
		if err := writeTree(w, part, rest+branch, rest+below); err != nil {
			return err
		}
	}
	return nil
}
