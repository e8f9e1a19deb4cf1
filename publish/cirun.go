package publish

// Run says who runs the build, for the provenance statement.
type Run struct {
	// BuilderID is a URI; empty means Bootsmith's own.
	BuilderID string
	// InvocationID identifies the run, usually a job's URL; may be empty.
	InvocationID string
	// CI is nil outside of a workflow.
	CI *CIRun
}

// CIRun is a run of a workflow, as GitHub, Gitea and Forgejo Actions tell their
// jobs in variables. These are the runner's words; what the token issuer says of
// the run is in the signing certificate.
type CIRun struct {
	Provider   string `json:"provider"` // "github", "gitea" or "forgejo"
	Server     string `json:"server"`
	Repository string `json:"repository"`
	Ref        string `json:"ref"`
	SHA        string `json:"sha"`
	Workflow   string `json:"workflow"` // its path and ref where the CI tells, else its name
	Job        string `json:"job"`
	Event      string `json:"event"`
	RunID      string `json:"run_id"`
	RunAttempt string `json:"run_attempt"`
	Runner     string `json:"runner"`
}

// RunFromEnv fills Run from the variables that GitHub, Gitea and Forgejo
// Actions set; outside of them it is empty.
func RunFromEnv(getenv func(string) string) Run {
	server, repo, id := getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY"), getenv("GITHUB_RUN_ID")
	if server == "" || repo == "" || id == "" {
		return Run{}
	}
	ci := &CIRun{
		Provider: provider(getenv), Server: server, Repository: repo, Ref: getenv("GITHUB_REF"), SHA: getenv("GITHUB_SHA"),
		Workflow: getenv("GITHUB_WORKFLOW_REF"), Job: getenv("GITHUB_JOB"), Event: getenv("GITHUB_EVENT_NAME"),
		RunID: id, RunAttempt: getenv("GITHUB_RUN_ATTEMPT"), Runner: getenv("RUNNER_NAME"),
	}
	if ci.Workflow == "" {
		ci.Workflow = getenv("GITHUB_WORKFLOW")
	}
	url := server + "/" + repo + "/actions/runs/" + id
	if ci.RunAttempt != "" {
		url += "/attempts/" + ci.RunAttempt
	}
	return Run{InvocationID: url, CI: ci}
}

// provider tells the three apart. Forgejo's runner sets Gitea's variable, too.
func provider(getenv func(string) string) string {
	switch {
	case getenv("FORGEJO_ACTIONS") == "true":
		return "forgejo"
	case getenv("GITEA_ACTIONS") == "true":
		return "gitea"
	}
	return "github"
}
