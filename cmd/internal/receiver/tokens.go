package receiver

import (
	"bufio"
	"os"
	"strings"

	"github.com/powernode/bootsmith/builder/fault"
	"github.com/powernode/bootsmith/callback"
	"github.com/powernode/bootsmith/callback/ingest"
)

// ReadTokens reads the API's bearer tokens: one per line as "name scopes
// secret", scopes separated by commas (read, operate, worker). Empty lines and
// lines that begin with # are skipped.
func ReadTokens(path string) ([]ingest.Token, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Inputf("reading the tokens: %w", err)
	}
	defer f.Close()
	var tokens []ingest.Token
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fault.Inputf("%s:%d: %d words", path, n, len(fields)).WithFix("write a line as: name scopes secret")
		}
		t := ingest.Token{Name: fields[0], Secret: callback.Secret(fields[2])}
		for _, scope := range strings.Split(fields[1], ",") {
			t.Scopes = append(t.Scopes, ingest.Scope(scope))
		}
		tokens = append(tokens, t)
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Inputf("reading %q: %w", path, err)
	}
	return tokens, nil
}
