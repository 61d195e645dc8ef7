package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
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
