// Package bench compares our programs with others that do the same work: both
// in one run, in turns, on the same input. It tells wall-clock time, processor
// time and peak memory, and fails only when a program does.
//
// What takes part is in files with the build tag bench, which `make bench` runs.
package bench

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// Sample is what one run took.
type Sample struct {
	Wall time.Duration `json:"wall"`
	CPU  time.Duration `json:"cpu"` // user and system time of all processes
	RSS  int64         `json:"rss"` // bytes; of the largest process
}

// Contender is one way to do the work.
type Contender struct {
	// Name is what the table calls it, with the version.
	Name string `json:"name"`
	// Prepare brings about the state in which a run begins, and is not measured.
	Prepare func(ctx context.Context) error `json:"-"`
	// Command makes the program that does the work.
	Command func(ctx context.Context) *exec.Cmd `json:"-"`
	// Output returns the size of what was made, in bytes.
	Output func() (int64, error) `json:"-"`

	Samples []Sample `json:"samples"`
	Bytes   int64    `json:"bytes"`
}

// run runs the contender once.
func (c *Contender) run(ctx context.Context) error {
	// One run follows the other at once: memory that is free for some seconds is
	// given back by a virtual machine, and slow to get again.
	if err := c.Prepare(ctx); err != nil {
		return fmt.Errorf("preparing %s: %w", c.Name, err)
	}
	s, err := measure(c.Command(ctx))
	if err != nil {
		return fmt.Errorf("running %s: %w", c.Name, err)
	}
	c.Samples = append(c.Samples, s)
	c.Bytes, err = c.Output()
	return err
}

// measure runs a program to its end.
func measure(cmd *exec.Cmd) (Sample, error) {
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		tail := log.Bytes()
		return Sample{}, fmt.Errorf("%w: %s", err, tail[max(0, len(tail)-4096):])
	}
	state := cmd.ProcessState
	s := Sample{Wall: wall, CPU: state.UserTime() + state.SystemTime()}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		s.RSS = usage.Maxrss << 10 // Linux counts KiB (getrusage(2))
	}
	return s, nil
}

// Comparison is what was measured of two contenders.
type Comparison struct {
	// Title says what both do.
	Title string `json:"title"`
	// Target is the part of the other's time that ours may take at the most.
	Target float64    `json:"target"`
	Ours   *Contender `json:"ours"`
	Other  *Contender `json:"other"`
}

// Run runs both in turns, so that what else the machine does meets both.
func (c *Comparison) Run(ctx context.Context, runs int) error {
	for range runs {
		for _, contender := range []*Contender{c.Other, c.Ours} {
			if err := contender.run(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Ratio returns our median time as a part of the other's, for which of says
// what of a sample counts.
func (c *Comparison) Ratio(of func(Sample) time.Duration) float64 {
	_, ours, _ := c.Ours.spread(of)
	_, other, _ := c.Other.spread(of)
	return float64(ours) / float64(other)
}

// spread returns the least, the median and the most.
func (c *Contender) spread(of func(Sample) time.Duration) (least, median, most time.Duration) {
	var all []time.Duration
	for _, s := range c.Samples {
		all = append(all, of(s))
	}
	slices.Sort(all)
	return all[0], (all[(len(all)-1)/2] + all[len(all)/2]) / 2, all[len(all)-1]
}

func wall(s Sample) time.Duration { return s.Wall }
func cpu(s Sample) time.Duration  { return s.CPU }

// peak returns the most memory of any run, in bytes.
func (c *Contender) peak() int64 {
	var most int64
	for _, s := range c.Samples {
		most = max(most, s.RSS)
	}
	return most
}
