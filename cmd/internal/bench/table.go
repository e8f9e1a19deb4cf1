package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// tableHead begins the table of comparisons.
const tableHead = "| work | program | runs | wall, s: median (least to most) | processor, s | peak memory, MiB | output, MiB |\n|---|---|---|---|---|---|---|\n"

// Report is what one run of all comparisons found.
type Report struct {
	Machine     string       `json:"machine"`
	Comparisons []Comparison `json:"comparisons"`
}

// Put adds a comparison, in the place of an earlier one of its title.
func (r *Report) Put(c Comparison) {
	for i := range r.Comparisons {
		if r.Comparisons[i].Title == c.Title {
			r.Comparisons[i] = c
			return
		}
	}
	r.Comparisons = append(r.Comparisons, c)
}

// Markdown returns the report as the README has it.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s", r.Machine, tableHead)
	for _, c := range r.Comparisons {
		for _, contender := range []*Contender{c.Other, c.Ours} {
			b.WriteString(contender.row(c.Title))
		}
	}
	b.WriteString("\n| work | ours of the other's wall time | of its processor time | target |\n|---|---|---|---|\n")
	for _, c := range r.Comparisons {
		target := "-"
		if c.Target > 0 {
			target = fmt.Sprintf("at most %.2f", c.Target)
		}
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %s |\n", c.Title, c.Ratio(wall), c.Ratio(cpu), target)
	}
	return b.String()
}

func (c *Contender) row(title string) string {
	least, median, most := c.spread(wall)
	_, processor, _ := c.spread(cpu)
	return fmt.Sprintf("| %s | %s | %d | %s (%s to %s) | %s | %d | %d |\n", title, c.Name, len(c.Samples),
		seconds(median), seconds(least), seconds(most), seconds(processor), c.peak()>>20, c.Bytes>>20)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

// Save writes the report to a file.
func (r Report) Save(name string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}

// Load reads a report that Save has written.
func Load(name string) (Report, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return Report{}, fmt.Errorf("%w: run make bench first", err)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return Report{}, fmt.Errorf("reading %q: %w", name, err)
	}
	return r, nil
}
