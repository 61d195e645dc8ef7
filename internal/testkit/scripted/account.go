package scripted

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ServiceAccount makes the default Google service account one whose tokens are issued by a local server. The returned
// function reports how many tokens were fetched.
func ServiceAccount(t *testing.T, token string) func() int {
	t.Helper()
	issuer := New(t, func(_ int, c Call) Answer {
		form, err := url.ParseQuery(string(c.Body))
		if err != nil || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || strings.Count(form.Get("assertion"), ".") != 2 {
			return Answer{Status: http.StatusBadRequest, ContentType: "application/json", Body: []byte(`{"error":"invalid_grant"}`)}
		}
		return Answer{ContentType: "application/json", Body: []byte(`{"access_token":"` + token + `","token_type":"Bearer","expires_in":3600}`), Length: true}
	})
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "my-project", "private_key_id": "1", "client_email": "test@my-project.example",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": issuer.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(name, account, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
	return func() int { return len(issuer.Calls()) }
}
