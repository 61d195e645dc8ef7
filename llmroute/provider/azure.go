package provider

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tollgate-llm/tollgate/app/setting"
)

// defaultAzureVersion is the latest dated api-version that is generally available.
const defaultAzureVersion = "2024-10-21"

// azureV1 is the end of the base URL of Azure's v1 API, which is OpenAI's own and has no api-version.
const azureV1 = "/openai/v1"

var azureVersion = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2}(-preview)?|v1|preview|latest)$`)

// CheckAzureVersion checks an api-version.
func CheckAzureVersion(s string) error {
	if !azureVersion.MatchString(s) {
		return fmt.Errorf("api_version %s: a version such as 2024-10-21 or 2025-04-01-preview is expected", s)
	}
	return nil
}

func setUpAzure(s *Server, o *Options) (err error) {
	if s.version, err = setting.Resolve("api_version", o.APIVersion); err != nil {
		return err
	}
	if s.version != "" {
		return CheckAzureVersion(s.version)
	}
	return nil
}

// azurePath puts the model, which is a deployment on Azure, in the path. Responses are the exception: their body
// names the deployment, and they are generally available in the v1 API.
func azurePath(s *Server, c *Call) (path, query string) {
	if s.version != "" {
		query = "api-version=" + s.version
	}
	if strings.HasSuffix(s.basePath, azureV1) {
		return s.basePath + "/" + c.Endpoint.Name, query
	}
	base := strings.TrimSuffix(s.basePath, "/openai")
	if strings.HasPrefix(c.Endpoint.Name, "responses") {
		if s.version == "" {
			return base + azureV1 + "/" + c.Endpoint.Name, ""
		}
		return base + "/openai/" + c.Endpoint.Name, query
	}
	if query == "" {
		query = "api-version=" + defaultAzureVersion
	}
	return base + "/openai/deployments/" + Escape(c.Upstream) + "/" + c.Endpoint.Name, query
}
