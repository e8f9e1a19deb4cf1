package builder

import "time"

// State says what happened to a stage.
type State string

// The states of a stage.
const (
	Started  State = "started"
	Progress State = "progress"
	Finished State = "finished"
	// Cached: the result was in the cache, and has been verified.
	Cached State = "cached"
	Failed State = "failed"
)

// Event is a step of a build, for people and machines to follow.
type Event struct {
	Time time.Time `json:"time"`
	// Stage is the stage's name, "<arch>/<stage>" where it belongs to one.
	Stage string `json:"stage"`
	State State  `json:"state"`
	// Detail says more in words.
	Detail string `json:"detail,omitempty"`
	// Elapsed is the stage's duration so far.
	Elapsed time.Duration `json:"elapsed_ns,omitempty"`
}

// Reporter takes events. It may be called from several goroutines at once.
type Reporter func(Event)
