package localstack

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	ctclient "github.com/google/certificate-transparency-go/client"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	pbcommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/sigstore/fulcio/pkg/ca"
	"github.com/sigstore/fulcio/pkg/ca/baseca"
	"github.com/sigstore/fulcio/pkg/certificate"
	"github.com/sigstore/fulcio/pkg/config"
	fulciov2 "github.com/sigstore/fulcio/pkg/generated/protobuf"
	fulciov1 "github.com/sigstore/fulcio/pkg/generated/protobuf/legacy"
	"github.com/sigstore/fulcio/pkg/identity"
	"github.com/sigstore/fulcio/pkg/identity/ciprovider"
	fulcio "github.com/sigstore/fulcio/pkg/server"
	"github.com/sigstore/sigstore/pkg/signature"
)

// ciProvider names the set of claim templates in Fulcio's configuration.
const ciProvider = "gitea"

// authority is the CA's key with its chain, the issuing certificate first.
type authority struct {
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate
}

func loadCA(k keyring) (authority, error) {
	key, err := k.ecdsaKey("ca.pem")
	if err != nil {
		return authority{}, err
	}
	chain, err := k.chain("fulcio.pem", key, func() ([]*x509.Certificate, error) {
		root, err := k.certify(&x509.Certificate{
			Subject: pkix.Name{CommonName: "local Fulcio"}, IsCA: true, MaxPathLenZero: true,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		}, key.Public(), nil, key)
		return []*x509.Certificate{root}, err
	})
	return authority{key: key, chain: chain}, err
}

// newFulcio returns Fulcio's HTTP API, v1 for cosign 2 and v2 for everyone
// else. The gRPC server is called in process, without a listener.
func newFulcio(ctx context.Context, a authority, ctlog *ctclient.LogClient, i *issuer, pool identity.IssuerPool) (http.Handler, error) {
	algorithms, err := signature.NewAlgorithmRegistryConfig(clientAlgorithms())
	if err != nil {
		return nil, fmt.Errorf("configuring Fulcio's algorithms: %w", err)
	}
	cfg := fulcioConfig(i)
	server := fulcio.NewGRPCCAServer(ctlog,
		&baseca.BaseCA{SignerWithChain: &ca.SignerCerts{Signer: a.key, Certs: a.chain}}, algorithms, pool)

	mux := runtime.NewServeMux(runtime.WithMetadata(bearerToken), runtime.WithForwardResponseOption(applyStatus))
	if err := fulciov2.RegisterCAHandlerServer(ctx, mux, server); err != nil {
		return nil, fmt.Errorf("registering Fulcio's v2 API: %w", err)
	}
	if err := fulciov1.RegisterCAHandlerServer(ctx, mux, fulcio.NewLegacyGRPCCAServer(server)); err != nil {
		return nil, fmt.Errorf("registering Fulcio's v1 API: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Upstream does this in a gRPC interceptor, which in-process calls skip.
		mux.ServeHTTP(w, r.WithContext(config.With(r.Context(), cfg)))
	}), nil
}

// issuers returns whose tokens Fulcio takes: the stack's own, or those that are
// configured in its place.
func issuers(ctx context.Context, c Config, own *issuer) (identity.IssuerPool, error) {
	if len(c.Issuers) == 0 {
		return identity.IssuerPool{trustedIssuer{name: own.name, verifier: oidc.NewVerifier(own.name,
			&oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{own.key.Public()}},
			&oidc.Config{ClientID: Audience, Now: own.now})}}, nil
	}
	var pool identity.IssuerPool
	for _, o := range c.Issuers {
		e, err := newExternal(ctx, o, c)
		if err != nil {
			return nil, err
		}
		pool = append(pool, e)
	}
	return pool, nil
}

// fulcioConfig is of type ci-provider: github-workflow would write github.com
// into every identity.
func fulcioConfig(i *issuer) *config.FulcioConfig {
	return &config.FulcioConfig{
		OIDCIssuers: map[string]config.OIDCIssuer{i.name: {
			IssuerURL: i.name, ClientID: Audience, Type: config.IssuerTypeCIProvider, CIProvider: ciProvider,
		}},
		CIIssuerMetadata: map[string]config.IssuerMetadata{ciProvider: {
			DefaultTemplateValues:          map[string]string{"server": i.server},
			SubjectAlternativeNameTemplate: "{{ .server }}/{{ .job_workflow_ref }}",
			ExtensionTemplates: certificate.Extensions{
				BuildSignerURI:           "{{ .server }}/{{ .job_workflow_ref }}",
				BuildSignerDigest:        "job_workflow_sha",
				RunnerEnvironment:        "runner_environment",
				SourceRepositoryURI:      "{{ .server }}/{{ .repository }}",
				SourceRepositoryDigest:   "sha",
				SourceRepositoryRef:      "ref",
				SourceRepositoryOwnerURI: "{{ .server }}/{{ .repository_owner }}",
				BuildConfigURI:           "{{ .server }}/{{ .job_workflow_ref }}",
				BuildConfigDigest:        "job_workflow_sha",
				BuildTrigger:             "event_name",
				RunInvocationURI:         "{{ .server }}/{{ .repository }}/actions/runs/{{ .run_id }}",
			},
		}},
	}
}

// trustedIssuer is upstream's ci-provider issuer with the key given instead of
// discovered, so that the issuer's name need not be an address.
type trustedIssuer struct {
	name     string
	verifier *oidc.IDTokenVerifier
}

func (t trustedIssuer) Match(_ context.Context, url string) bool { return url == t.name }

func (t trustedIssuer) Authenticate(ctx context.Context, token string, _ ...config.InsecureOIDCConfigOption) (identity.Principal, error) {
	id, err := t.verifier.Verify(ctx, token)
	if err != nil {
		return nil, err
	}
	return ciprovider.WorkflowPrincipalFromIDToken(ctx, id)
}

// clientAlgorithms are the signatures that Fulcio certifies and Rekor logs.
func clientAlgorithms() []pbcommon.PublicKeyDetails {
	return []pbcommon.PublicKeyDetails{
		pbcommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
		pbcommon.PublicKeyDetails_PKIX_ECDSA_P384_SHA_384,
		pbcommon.PublicKeyDetails_PKIX_ECDSA_P521_SHA_512,
		pbcommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_2048_SHA256,
		pbcommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_3072_SHA256,
		pbcommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_4096_SHA256,
		pbcommon.PublicKeyDetails_PKIX_ED25519,
		pbcommon.PublicKeyDetails_PKIX_ED25519_PH,
	}
}

func bearerToken(_ context.Context, r *http.Request) metadata.MD {
	return metadata.Pairs(fulcio.MetadataOIDCTokenKey, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
}

// applyStatus carries the v1 API's status 201 and SCT header from gRPC metadata
// into HTTP, as upstream's unexported cmd/app code does.
func applyStatus(ctx context.Context, w http.ResponseWriter, _ proto.Message) error {
	md, ok := runtime.ServerMetadataFromContext(ctx)
	if !ok {
		return nil
	}
	if sct := md.HeaderMD.Get(fulcio.SCTMetadataKey); len(sct) > 0 {
		w.Header().Set("SCT", sct[0])
	}
	for name := range w.Header() {
		if strings.HasPrefix(name, "Grpc-") {
			w.Header().Del(name)
		}
	}
	if code := md.HeaderMD.Get(fulcio.HTTPResponseCodeMetadataKey); len(code) > 0 {
		status, err := strconv.Atoi(code[0])
		if err != nil {
			return fmt.Errorf("reading Fulcio's status %q: %w", code[0], err)
		}
		w.WriteHeader(status)
	}
	return nil
}

// validFrom is when the trusted root starts to believe in this chain.
func validFrom(chain []*x509.Certificate) time.Time { return chain[0].NotBefore }
