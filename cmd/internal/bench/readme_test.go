package bench

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the README's tables of speed from the report of `make bench`")

const (
	readme     = "../../../README.md"
	reportFile = "report.json"
	tableBegin = "<!-- speed: made by `make bench-table` from the report of `make bench` -->\n"
	tableEnd   = "<!-- end of speed -->\n"
)

// stateFolder is where the runs keep everything, the report among it.
func stateFolder() string {
	if dir := os.Getenv("BOOTSMITH_BENCH_STATE"); dir != "" {
		return dir
	}
	return "../../../.state/bench"
}

// The README has the tables, with every comparison and its target.
func TestReadmeTable(t *testing.T) {
	data, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	table, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatal("the README has no tables of speed")
	}
	if *update {
		r, err := Load(stateFolder() + "/" + reportFile)
		if err != nil {
			t.Fatal(err)
		}
		table = r.Markdown()
		if err := os.WriteFile(readme, []byte(before+tableBegin+table+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
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
