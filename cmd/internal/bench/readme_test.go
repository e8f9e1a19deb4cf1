package bench

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/cmd/internal/section"
)

var update = flag.Bool("update", false, "write the README's tables of speed from the report of `make bench`")

const reportFile = "report.json"

var tables = section.Section{
	File:  "../../../README.md",
	Begin: "<!-- speed: made by `make bench-table` from the report of `make bench` -->\n",
	End:   "<!-- end of speed -->\n",
}

// stateFolder is where the runs keep everything, the report among it.
func stateFolder() string {
	if dir := os.Getenv("BOOTSMITH_BENCH_STATE"); dir != "" {
		return dir
	}
	return "../../../.state/bench"
}

// The README has the tables, with every comparison and its target.
func TestReadmeTable(t *testing.T) {
	if *update {
		r, err := Load(stateFolder() + "/" + reportFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := tables.Replace(r.Markdown()); err != nil {
			t.Fatal(err)
		}
	}
	table, err := tables.Read()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table, tableHead) {
		t.Errorf("the table's head is not %q", tableHead)
	}
	for _, want := range []string{"mmdebstrap", "mkcomposefs", "xorriso", "mkosi", "| at most 0.50 |", "| at most 0.10 |", "| at most 0.17 |"} {
		if !strings.Contains(table, want) {
			t.Errorf("the tables say nothing of %q", want)
		}
	}
}
