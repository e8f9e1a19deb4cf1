package builder

// dependency is a stage that others build upon.
type dependency interface {
	// want makes the stage's result available, and returns a channel that is
	// closed when it is: its value, and with content also the files or objects
	// that belong to it, verified.
	want(content bool) <-chan struct{}
	planner
}

// need is what a stage needs of another.
type need struct {
	stage   dependency
	content bool
	// along: the other is to run, but nothing waits for it.
	along bool
}

// needs are stages that are needed with their contents.
func needs(stages ...dependency) []need {
	var list []need
	for _, s := range stages {
		list = append(list, need{stage: s, content: true})
	}
	return list
}

// along are stages that run at the same time.
func along(stages ...dependency) []need {
	var list []need
	for _, s := range stages {
		list = append(list, need{stage: s, content: true, along: true})
	}
	return list
}

// values are stages of which only the values are needed.
func values(stages ...dependency) []need {
	var list []need
	for _, s := range stages {
		list = append(list, need{stage: s})
	}
	return list
}
