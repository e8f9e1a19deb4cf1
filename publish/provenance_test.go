package publish

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/powernode/bootsmith/builder/manifest"
)

func TestRunFromEnv(t *testing.T) {
	env := map[string]string{
		"GITHUB_SERVER_URL": "https://gitea.example.org", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7", "GITHUB_REF": "refs/heads/main",
		"GITHUB_SHA": "0123", "GITHUB_WORKFLOW": "build", "GITHUB_JOB": "ship", "GITHUB_EVENT_NAME": "push", "RUNNER_NAME": "r1",
	}
	get := func(name string) string { return env[name] }
	r := RunFromEnv(get)
	want := CIRun{
		Provider: "github", Server: "https://gitea.example.org", Repository: "a/b", Ref: "refs/heads/main", SHA: "0123", Workflow: "build",
		Job: "ship", Event: "push", RunID: "7", Runner: "r1",
	}
	if r.InvocationID != "https://gitea.example.org/a/b/actions/runs/7" || *r.CI != want {
		t.Errorf("run %+v, %+v", r, r.CI)
	}
	env["GITHUB_RUN_ATTEMPT"], env["GITEA_ACTIONS"] = "2", "true"
	if r := RunFromEnv(get); r.InvocationID != "https://gitea.example.org/a/b/actions/runs/7/attempts/2" || r.CI.Provider != "gitea" || r.CI.RunAttempt != "2" {
		t.Errorf("run %+v, %+v", r, r.CI)
	}
	env["FORGEJO_ACTIONS"], env["GITHUB_WORKFLOW_REF"] = "true", "a/b/.forgejo/workflows/build.yml@refs/heads/main"
	if r := RunFromEnv(get); r.CI.Provider != "forgejo" || r.CI.Workflow != env["GITHUB_WORKFLOW_REF"] {
		t.Errorf("run %+v", r.CI)
	}
	delete(env, "GITHUB_RUN_ID")
	if r := RunFromEnv(get); r != (Run{}) {
		t.Errorf("run %+v", r)
	}
}

// TestProvenance compares a whole predicate: its field names are SLSA's.
func TestProvenance(t *testing.T) {
	m := &manifest.Manifest{
		Platform: "p", Arch: "amd64", GitSHA: "0123", DefinitionSHA256: "dd", LockSHA256: "11", PlanDigest: "sha256:ee", Created: time.Unix(0, 0), Cmdline: "quiet",
		BaseImageDigest: "sha256:bb", Tools: map[string]string{"bootsmith": "1.2"},
		Inputs: []manifest.Package{{Name: "busybox", Version: "1:1", Arch: "amd64", SHA256: "aa", Use: "root"}},
	}
	a := &artifact{build: &archBuild{manifest: m, sha256: "ff"}, family: manifest.Family{Name: "iso"}}
	raw, err := json.Marshal(a.provenance(Run{InvocationID: "https://ci.example.org/7", CI: &CIRun{Provider: "gitea", RunID: "7"}}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
	"buildDefinition": {
		"buildType": "https://powernode.dev/bootsmith/build/v1",
		"externalParameters": {"platform": "p", "arch": "amd64", "family": "iso", "revision": "0123", "definition_sha256": "dd", "lock_sha256": "11"},
		"internalParameters": {
			"plan_digest": "sha256:ee", "created": "1970-01-01T00:00:00Z", "cmdline": "quiet", "tools": {"bootsmith": "1.2"},
			"ci": {"provider": "gitea", "server": "", "repository": "", "ref": "", "sha": "", "workflow": "", "job": "", "event": "",
				"run_id": "7", "run_attempt": "", "runner": ""}
		},
		"resolvedDependencies": [
			{"name": "platform.yaml", "digest": {"sha256": "dd"}},
			{"name": "platform.lock", "digest": {"sha256": "11"}},
			{"name": "base image", "digest": {"sha256": "bb"}},
			{"name": "busybox", "digest": {"sha256": "aa"}, "annotations": {"version": "1:1", "arch": "amd64", "use": "root"}}
		]
	},
	"runDetails": {
		"builder": {"id": "https://powernode.dev/bootsmith", "version": {"bootsmith": "1.2"}},
		"metadata": {"invocationId": "https://ci.example.org/7"},
		"byproducts": [{"name": "build-manifest.json", "digest": {"sha256": "ff"}}]
	}
}`
	var got, wanted any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, wanted) {
		t.Errorf("the predicate is\n%s\nwant\n%s", raw, want)
	}
}
