package callback

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

const digest = "1111111111111111111111111111111111111111111111111111111111111111"

// example is a valid event with every field set.
func example() Event {
	hex := func(c string) string { return strings.Repeat(c, 64) }
	return Event{
		PlatformName:        "debian-13-server",
		GitSHA:              "0123456789abcdef0123456789abcdef01234567",
		Arch:                "amd64",
		OCIRef:              "registry.example.com/acme/disk-images/debian-13-server@sha256:" + digest,
		SHA256:              hex("2"),
		SizeBytes:           1073741824,
		FirmwareRef:         "",
		ArtifactFamily:      "raw",
		BuiltAt:             time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		OCIDigest:           "sha256:" + digest,
		SBOMURL:             "oci://registry.example.com/acme/disk-images/debian-13-server@sha256:" + hex("3"),
		CosignIdentity:      "https://ci.example.com/acme/images/.gitea/workflows/build.yaml@refs/heads/main",
		CosignIssuer:        "https://ci.example.com",
		ComposefsDigest:     hex("4"),
		RootHash:            hex("5"),
		BuildManifestSHA256: hex("6"),
	}
}

func TestEncodeHasTheContractsFieldsInOrder(t *testing.T) {
	var tags, names []string
	typ := reflect.TypeFor[Event]()
	for i := range typ.NumField() {
		tags = append(tags, typ.Field(i).Tag.Get("json"))
	}
	e := example()
	for i, f := range e.fields() {
		names = append(names, f.name)
		if f.value != reflect.ValueOf(&e).Elem().Field(i).Addr().Interface() {
			t.Errorf("field %q of the decoder is another one of the struct", f.name)
		}
	}
	want := "platform_name git_sha arch oci_ref sha256 size_bytes firmware_ref artifact_family built_at oci_digest sbom_url " +
		"cosign_identity cosign_issuer composefs_digest roothash build_manifest_sha256"
	if strings.Join(tags, " ") != want || strings.Join(names, " ") != want {
		t.Errorf("fields are\n%v\n%v, want\n%s", tags, names, want)
	}
}

func TestEncodeIsOneForm(t *testing.T) {
	e := example()
	e.CosignIdentity = "a<b>&c"
	first, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	e.BuiltAt = e.BuiltAt.In(time.FixedZone("east", 3600)).Add(300 * time.Millisecond)
	second, _ := e.Encode()
	if string(first) != string(second) {
		t.Errorf("another zone changes the body:\n%s\n%s", first, second)
	}
	if !strings.Contains(string(first), `"built_at":"2026-11-22T00:00:00Z"`) || !strings.Contains(string(first), "a<b>&c") {
		t.Errorf("body %s", first)
	}
	back, err := ParseEvent(first)
	if err != nil {
		t.Fatal(err)
	}
	e = example()
	e.CosignIdentity = "a<b>&c"
	if back != e {
		t.Errorf("decoded %+v, want %+v", back, e)
	}
}

func TestParseEventRefusesTwoReadings(t *testing.T) {
	for name, body := range map[string]string{
		"twice":    `{"arch":"amd64","arch":"arm64"}`,
		"array":    `[]`,
		"null":     `null`,
		"trailing": `{"arch":"amd64"}{}`,
		"type":     `{"size_bytes":"1"}`,
		"fraction": `{"size_bytes":1.5}`,
		"time":     `{"built_at":"yesterday"}`,
		"empty":    ``,
		"long":     `{"x":"` + strings.Repeat("a", MaxBody) + `"}`,
	} {
		if e, err := ParseEvent([]byte(body)); err == nil {
			t.Errorf("%s: decoded to %+v", name, e)
		}
	}
	e, err := ParseEvent([]byte(`{"Arch":"arm64","ARCH":"x","arch":"amd64","more":{"arch":1}}`))
	if err != nil || e.Arch != "amd64" {
		t.Errorf("got %q, %v; only the exact name counts", e.Arch, err)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	if err := example().Validate(); err != nil {
		t.Fatal(err)
	}
	least := example()
	least.SBOMURL, least.CosignIdentity, least.CosignIssuer = "", "", ""
	least.ComposefsDigest, least.RootHash, least.BuildManifestSHA256 = "", "", ""
	if err := least.Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		field string
		spoil func(*Event)
	}{
		{"platform_name", func(e *Event) { e.PlatformName = "../x" }},
		{"platform_name", func(e *Event) { e.PlatformName = "" }},
		{"platform_name", func(e *Event) { e.PlatformName = strings.Repeat("a", 65) }},
		{"arch", func(e *Event) { e.Arch = "AMD64" }},
		{"artifact_family", func(e *Event) { e.ArtifactFamily = "raw\n" }},
		{"git_sha", func(e *Event) { e.GitSHA = "" }},
		{"git_sha", func(e *Event) { e.GitSHA = "a b" }},
		{"sha256", func(e *Event) { e.SHA256 = strings.ToUpper(strings.Repeat("a", 64)) }},
		{"size_bytes", func(e *Event) { e.SizeBytes = 0 }},
		{"size_bytes", func(e *Event) { e.SizeBytes = -1 }},
		{"built_at", func(e *Event) { e.BuiltAt = time.Time{} }},
		{"built_at", func(e *Event) { e.BuiltAt = time.Unix(-1, 0) }},
		{"oci_ref", func(e *Event) { e.OCIRef = "registry.example.com/a:latest" }},
		{"oci_ref", func(e *Event) { e.OCIRef = "user@registry.example.com/a@sha256:" + digest }},
		{"oci_digest", func(e *Event) { e.OCIDigest = "sha256:" + strings.Repeat("9", 64) }},
		{"sbom_url", func(e *Event) { e.SBOMURL = "oci://evil.example.org/x@sha256:" + digest }},
		{"sbom_url", func(e *Event) { e.SBOMURL = e.OCIRef }},
		{"composefs_digest", func(e *Event) { e.ComposefsDigest = "x" }},
		{"roothash", func(e *Event) { e.RootHash = "x" }},
		{"build_manifest_sha256", func(e *Event) { e.BuildManifestSHA256 = "x" }},
		{"firmware_ref", func(e *Event) { e.FirmwareRef = "a\x1b[2J" }},
		{"cosign_identity", func(e *Event) { e.CosignIdentity = strings.Repeat("a", 2000) }},
		{"cosign_issuer", func(e *Event) { e.CosignIssuer = "\xff" }},
	} {
		e := example()
		c.spoil(&e)
		if err := e.Validate(); err == nil || !strings.Contains(err.Error(), c.field+":") {
			t.Errorf("spoiled %s: error %v", c.field, err)
		}
	}
}

func TestSplitRef(t *testing.T) {
	for _, repository := range []string{"localhost:5000/a", "127.0.0.1:35123/a/b-c/d_e", "[::1]:5000/x", "r.example.com/a.b/c__d"} {
		got, d, err := SplitRef(repository + "@sha256:" + digest)
		if err != nil || got != repository || d != "sha256:"+digest {
			t.Errorf("%s: %q, %q, %v", repository, got, d, err)
		}
	}
	for _, ref := range []string{"", "a", "r/../x@sha256:" + digest, "r/a@sha256:1", "-r/a@sha256:" + digest, "r/a@sha256:" + digest + "\n"} {
		if _, _, err := SplitRef(ref); err == nil {
			t.Errorf("%q was taken", ref)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	body, _ := example().Encode()
	f.Add(body)
	f.Add([]byte(`{"arch":"a","arch":"b"}`))
	f.Add([]byte(`{"size_bytes":1e3,"built_at":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := ParseEvent(body)
		if err != nil || e.Validate() != nil {
			return
		}
		again, err := e.Encode()
		if err != nil {
			t.Fatalf("a valid event can't be encoded: %v", err)
		}
		back, err := ParseEvent(again)
		if err != nil || back.Validate() != nil {
			t.Fatalf("%s doesn't decode: %v", again, err)
		}
		if twice, _ := back.Encode(); string(twice) != string(again) {
			t.Fatalf("encoding is not stable:\n%s\n%s", again, twice)
		}
	})
}

// TestCeiling keeps the package free of everything but the standard library.
func TestCeiling(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("listing imports: %v (Debian package golang-go)", err)
	}
	if got := strings.Fields(string(out)); len(got) != 1 || !strings.HasSuffix(got[0], "/callback") {
		t.Errorf("imports beside the standard library: %v", got)
	}
}
