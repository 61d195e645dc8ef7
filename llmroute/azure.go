package llmroute

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tollgate-llm/tollgate/app/setting"
)

// defaultAzureVersion is the latest api-version that is generally available and has a date.
const defaultAzureVersion = "2024-10-21"

// azureV1 ends the base URL of Azure's API without api-versions, which is OpenAI's own.
const azureV1 = "/openai/v1"

var azureVersion = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2}(-preview)?|v1|preview|latest)$`)

// checkAzureVersion checks an api-version.
func checkAzureVersion(s string) error {
	if !azureVersion.MatchString(s) {
		return fmt.Errorf("api_version %s: a version such as 2024-10-21 or 2025-04-01-preview is expected", s)
	}
	return nil
}

func setUpAzure(b *Backend) (err error) {
	if b.version, err = setting.Resolve("api_version", b.APIVersion); err != nil {
		return err
	}
	if b.version != "" {
		return checkAzureVersion(b.version)
	}
	return nil
}

// azurePath names the model, which is a deployment on Azure, in the path. Responses are no call to a deployment: the body
// names it, and the API without versions is the one where they are generally available.
func azurePath(b *Backend, c *calling) (path, query string) {
	if b.version != "" {
		query = "api-version=" + b.version
	}
	if strings.HasSuffix(b.basePath, azureV1) {
		return b.basePath + "/" + c.ep.Name, query
	}
	base := strings.TrimSuffix(b.basePath, "/openai")
	if strings.HasPrefix(c.ep.Name, "responses") {
		if b.version == "" {
			return base + azureV1 + "/" + c.ep.Name, ""
		}
		return base + "/openai/" + c.ep.Name, query
	}
	if query == "" {
		query = "api-version=" + defaultAzureVersion
	}
	return base + "/openai/deployments/" + escape(c.upstream) + "/" + c.ep.Name, query
}
