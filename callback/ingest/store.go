package ingest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// store is the database. All writing goes through one connection, so that
// transactions follow one another instead of failing at each other's locks;
// reading has connections of its own (write-ahead log).
type store struct {
	write, read *sql.DB
}

// busyTimeout is how long a transaction waits for another process's, in
// milliseconds.
const busyTimeout = 10000

func openStore(ctx context.Context, path string) (*store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	open := func(connections int, options url.Values) (*sql.DB, error) {
		options.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", busyTimeout))
		options.Add("_pragma", "foreign_keys(1)")
		dsn := (&url.URL{Scheme: "file", Path: abs, RawQuery: options.Encode()}).String()
		db, err := sql.Open("sqlite", dsn)
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(connections)
		return db, nil
	}
	// The answer to a webhook promises that the event is kept: every commit is
	// flushed (synchronous=FULL).
	write, err := open(1, url.Values{"_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "synchronous(FULL)"}})
	if err != nil {
		return nil, err
	}
	s := &store{write: write}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	s.read, err = open(4, url.Values{"_pragma": {"query_only(1)"}})
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return s, nil
}

func (s *store) close() error { return errors.Join(s.read.Close(), s.write.Close()) }

// migrate brings the schema to the newest version.
func (s *store) migrate(ctx context.Context) error {
	return s.update(ctx, func(t *tx) error {
		if err := t.exec(`CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)`); err != nil {
			return err
		}
		var version int
		if err := t.row(`SELECT COALESCE(MAX(version), 0) FROM schema_version`).Scan(&version); err != nil {
			return err
		}
		if version > len(migrations) {
			return fmt.Errorf("the database has schema version %d, this program knows %d; use a newer program", version, len(migrations))
		}
		for ; version < len(migrations); version++ {
			for _, statement := range migrations[version] {
				if err := t.exec(statement); err != nil {
					return fmt.Errorf("migrating to schema version %d: %w", version+1, err)
				}
			}
			if err := t.exec(`INSERT INTO schema_version (version) VALUES (?)`, version+1); err != nil {
				return err
			}
		}
		return nil
	})
}

// tx is a transaction, or for reading a snapshot. Every statement of the package
// passes through its methods, with ? for parameters.
type tx struct {
	ctx context.Context
	sql *sql.Tx
}

func (t *tx) row(query string, args ...any) *sql.Row {
	return t.sql.QueryRowContext(t.ctx, query, args...)
}

func (t *tx) exec(query string, args ...any) error {
	_, err := t.sql.ExecContext(t.ctx, query, args...)
	return err
}

// change is exec that tells how many rows it changed.
func (t *tx) change(query string, args ...any) (int64, error) {
	result, err := t.sql.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// each calls scan for every row of a query.
func (t *tx) each(scan func(scanner) error, query string, args ...any) error {
	rows, err := t.sql.QueryContext(t.ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// scanner is a row, of one or of many.
type scanner interface{ Scan(dest ...any) error }

// next returns the next number of the sequence that orders rows and events.
func (t *tx) next() (int64, error) {
	if err := t.exec(`UPDATE counters SET value = value + 1 WHERE name = 'sequence'`); err != nil {
		return 0, err
	}
	var n int64
	err := t.row(`SELECT value FROM counters WHERE name = 'sequence'`).Scan(&n)
	return n, err
}

// update runs fn in a writing transaction, which is committed when fn returns
// nil.
func (s *store) update(ctx context.Context, fn func(*tx) error) error {
	return run(ctx, s.write, nil, fn)
}

// view runs fn on a consistent snapshot.
func (s *store) view(ctx context.Context, fn func(*tx) error) error {
	return run(ctx, s.read, &sql.TxOptions{ReadOnly: true}, fn)
}

func run(ctx context.Context, db *sql.DB, options *sql.TxOptions, fn func(*tx) error) error {
	t, err := db.BeginTx(ctx, options)
	if err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	defer t.Rollback() // in vain after the commit
	if err := fn(&tx{ctx: ctx, sql: t}); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("committing transaction: %w", err)
	}
	return nil
}

// millis is a time as the database holds it; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// fromMillis is the reverse of millis.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
