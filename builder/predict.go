package builder

import (
	"context"

	"github.com/powernode/bootsmith/builder/spec"
)

// Action is what a run would do with a stage.
type Action string

// The actions.
const (
	Reuse Action = "reuse" // take the result from the cache
	Build Action = "build" // run the stage
	Skip  Action = "skip"  // neither: only stages need it that are reused
)

// StagePlan is what a run of a plan would do with a stage.
type StagePlan struct {
	// Stage is the stage's name, "<arch>/<stage>".
	Stage string `json:"stage"`
	// Key is that of the stage's entry in the cache; "" when its results are
	// not cached, or when the plan doesn't tell.
	Key    string `json:"key,omitempty"`
	Action Action `json:"action"`
}

// Stages says what Run would do, without doing it or reading more than which
// entries the cache has: an entry that turns out to be damaged is built again.
// The stages are those of each architecture in the order of the data flow. What
// a script makes is known only after it has run, so that what depends on it is
// expected to be built.
func Stages(c Config, f *spec.File, p *Plan) ([]StagePlan, error) {
	g := newGraph(context.Background(), c)
	defer g.cancel(nil)
	var wanted []dependency
	for _, t := range p.Targets {
		b, err := newTargetBuild(c, f, p, t, "")
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, b.addStages(g)...)
		if b.scripted() {
			b.ids = func() (identities, bool) { return identities{}, false }
		}
	}
	for _, w := range wanted {
		w.predict(true)
	}
	var list []StagePlan
	for _, s := range g.stages {
		list = append(list, s.plan())
	}
	return list, nil
}

// planner is a stage that says what it would do.
type planner interface {
	// predict notes that the stage's result is wanted.
	predict(content bool)
	// plan returns what was found out.
	plan() StagePlan
}

func (s *stage[T]) predict(content bool) {
	if s.action == Build || s.action == Reuse {
		return
	}
	if s.g.cache != nil && s.key() != "" && s.g.cache.Has(s.key()) {
		if content {
			s.action = Reuse
		}
		return
	}
	s.action = Build
	for _, n := range s.needs {
		n.stage.predict(n.content)
	}
}

func (s *stage[T]) plan() StagePlan {
	action := s.action
	if action == "" {
		action = Skip
	}
	return StagePlan{Stage: s.name, Key: s.key(), Action: action}
}

// key returns the key of the stage's entry, "" when there is none or when it
// isn't known.
func (s *stage[T]) key() string {
	if s.identify == nil {
		return ""
	}
	id, ok := s.identify()
	if !ok {
		return ""
	}
	return id.key(s.g.program)
}
