package e2e

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// checkSigV4 computes the signature of a request anew, by AWS' description of Signature Version 4.
func checkSigV4(t *testing.T, c scripted.Call) {
	t.Helper()
	auth := c.Header.Get("Authorization")
	date := c.Header.Get("X-Amz-Date")
	when, err := time.Parse("20060102T150405Z", date)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), when, 5*time.Minute)
	require.Equal(t, awsSession, c.Header.Get("X-Amz-Security-Token"))
	scope := date[:8] + "/us-east-1/bedrock/aws4_request"
	rest, ok := strings.CutPrefix(auth, "AWS4-HMAC-SHA256 Credential="+awsID+"/"+scope+", SignedHeaders=")
	require.True(t, ok, auth)
	names, signature, ok := strings.Cut(rest, ", Signature=")
	require.True(t, ok, auth)
	signed := strings.Split(names, ";")
	require.True(t, slices.IsSorted(signed))
	require.Subset(t, signed, []string{"host", "content-type", "x-amz-date", "x-amz-security-token"})
	path, query, _ := strings.Cut(c.URI, "?")
	require.Empty(t, query)
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = strings.ReplaceAll(url.QueryEscape(s), "+", "%20") // escaped twice, as for all services but S3
	}
	var canonical strings.Builder
	fmt.Fprintf(&canonical, "POST\n%s\n\n", strings.Join(segments, "/"))
	for _, name := range signed {
		value := strings.Join(c.Header.Values(name), ",")
		if name == "host" {
			value = c.Host
		}
		fmt.Fprintf(&canonical, "%s:%s\n", name, strings.TrimSpace(value))
	}
	body := sha256.Sum256(c.Body)
	fmt.Fprintf(&canonical, "\n%s\n%x", names, body)
	sum := sha256.Sum256([]byte(canonical.String()))
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	derived := []byte("AWS4" + awsSecret)
	for _, part := range strings.Split(scope, "/") {
		derived = mac(derived, part)
	}
	require.Equal(t, hex.EncodeToString(mac(derived, fmt.Sprintf("AWS4-HMAC-SHA256\n%s\n%s\n%x", date, scope, sum))), signature)
}

// serviceAccount makes a Google service account whose tokens come from this machine, and makes it the default one. The
// function tells how many tokens were fetched.
func serviceAccount(t *testing.T) func() int {
	t.Helper()
	issuer := scripted.New(t, func(_ int, c scripted.Call) scripted.Answer {
		form, err := url.ParseQuery(string(c.Body))
		if err != nil || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || strings.Count(form.Get("assertion"), ".") != 2 {
			return scripted.Answer{Status: http.StatusBadRequest, ContentType: "application/json", Body: []byte(`{"error":"invalid_grant"}`)}
		}
		return scripted.Answer{
			ContentType: "application/json", Body: []byte(`{"access_token":"` + vertexKey + `","token_type":"Bearer","expires_in":3600}`), Length: true,
		}
	})
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "my-project", "private_key_id": "1", "client_email": "test@my-project.example",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": issuer.URL,
	})
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "account.json")
	require.NoError(t, os.WriteFile(name, account, 0o600))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
	return func() int { return len(issuer.Calls()) }
}
