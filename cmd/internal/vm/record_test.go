package vm_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const logVariable = "BOOTSMITH_BOOT_LOGS"

// record is a line of boots.jsonl.
type record struct {
	row
	// Seconds is the time from the machine's start to the first line of the
	// platform's own programs.
	Seconds float64 `json:"seconds"`
	// Retries counts how often the emulator broke the guest before.
	Retries int `json:"retries"`
	// Log is the file with what the console said.
	Log string `json:"log"`
}

// logFolder is where logs and records are kept.
func logFolder() string {
	if dir := os.Getenv(logVariable); dir != "" {
		return dir
	}
	return filepath.Join("../../..", ".state", "boot")
}

const recordsFile = "boots.jsonl"

// readRecords returns the seconds of every row; the last record counts.
func readRecords(path string) (map[row]float64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: run make boot first", err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	times := map[row]float64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("reading %q: %w", path, err)
		}
		times[r.row] = r.Seconds
	}
	return times, nil
}
