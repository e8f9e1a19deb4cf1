package vm_test

import (
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/powernode/bootsmith/cmd/internal/section"
)

var update = flag.Bool("update", false, "write the README's table of boots from the records")

var boots = section.Section{
	File:  "../../../README.md",
	Begin: "<!-- boots: made by `make boot-table` from the records of `make boot boot-server` -->\n",
	End:   "<!-- end of boots -->\n",
}

const tableHead = "| family | architecture | firmware | medium | cloud kernel | generic kernel |\n|---|---|---|---|---|---|\n"

// The README's table has a row and a time for each boot.
func TestReadmeTable(t *testing.T) {
	if *update {
		times, err := readRecords(filepath.Join(logFolder(), recordsFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := boots.Replace(renderTable(t, times)); err != nil {
			t.Fatal(err)
		}
	}
	table, err := boots.Read()
	if err != nil {
		t.Fatal(err)
	}
	checkTable(t, table)
}

// line is what the table's row says before its times.
func (r row) line() string {
	return fmt.Sprintf("| `%s` | %s | %s | %s |", r.Family, r.Arch, r.Firmware, r.Medium)
}

// tableLines returns the beginnings of the table's rows: kernels share a row.
func tableLines() []string {
	var lines []string
	for _, r := range listed() {
		lines = append(lines, r.line())
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func renderTable(t *testing.T, times map[row]float64) string {
	t.Helper()
	cells := map[string]map[string]string{}
	for _, r := range listed() {
		seconds, ok := times[r]
		if !ok {
			t.Errorf("there is no record of %s", r)
		}
		if cells[r.line()] == nil {
			cells[r.line()] = map[string]string{}
		}
		cells[r.line()][r.Kernel] = fmt.Sprintf("%.0f", seconds)
	}
	table := tableHead
	for _, line := range tableLines() {
		table += fmt.Sprintf("%s %s | %s |\n", line, orDash(cells[line][cloud]), orDash(cells[line][generic]))
	}
	return table
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func checkTable(t *testing.T, table string) {
	t.Helper()
	body, ok := strings.CutPrefix(table, tableHead)
	if !ok {
		t.Fatalf("the table's head is not %q", tableHead)
	}
	want := map[string]bool{}
	for _, r := range listed() {
		want[r.line()+" "+r.Kernel] = true
	}
	for line := range strings.Lines(body) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 6 {
			t.Errorf("%q has %d cells", line, len(cells))
			continue
		}
		for i, kernel := range []string{cloud, generic} {
			key := strings.Join(cells[:4], " | ") + " | " + kernel
			if time := strings.TrimSuffix(cells[4+i], " |"); time == "-" == want[key] {
				t.Errorf("row %q says %q for the %s kernel", line, time, kernel)
			}
			delete(want, key)
		}
	}
	for key := range want {
		t.Errorf("the table lacks %s", key)
	}
}
