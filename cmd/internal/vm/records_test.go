package vm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The last record of a row counts, and a missing file says what to do.
func TestReadRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), recordsFile)
	if _, err := readRecords(path); err == nil || !strings.Contains(err.Error(), "run make boot first") {
		t.Errorf("missing records: %v", err)
	}
	line := `{"family":"raw","architecture":"amd64","seconds":`
	if err := os.WriteFile(path, []byte(line+"9}\n"+line+"7.5}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	times, err := readRecords(path)
	if err != nil || len(times) != 1 {
		t.Fatalf("records = %v, %v", times, err)
	}
	for _, seconds := range times {
		if seconds != 7.5 {
			t.Errorf("seconds = %v, want the last record's", seconds)
		}
	}
}
