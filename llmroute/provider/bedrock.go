package provider

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/body"
)

// credentialTime is the time limit for fetching a cloud's credentials.
const credentialTime = 15 * time.Second

var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$`)

// CheckRegion checks the name of an AWS region.
func CheckRegion(s string) error {
	if !regionName.MatchString(s) {
		return fmt.Errorf("region %s: the name of an AWS region such as us-east-1 is expected", s)
	}
	return nil
}

// setUpBedrock derives the base URL from the region, or the region from the base URL.
func setUpBedrock(s *Server, o *Options) error {
	region, err := setting.Resolve("region", o.Region)
	if err != nil {
		return err
	}
	if region == "" && s.Base != nil {
		region = regionOf(s.Base)
	}
	if region == "" {
		region = cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	}
	if region != "" {
		if err := CheckRegion(region); err != nil {
			return err
		}
	}
	if s.Base == nil {
		if region == "" {
			return errors.New("region is missing: write it, or give the base URL")
		}
		suffix := ".amazonaws.com"
		if strings.HasPrefix(region, "cn-") {
			suffix += ".cn"
		}
		if s.Base, err = ParseBase("https://bedrock-runtime." + region + suffix); err != nil {
			return err
		}
	}
	s.Region = region
	if !o.Keyed { // Bedrock's own API keys replace the signature
		s.Signer = &awsSigner{region: region}
	}
	return nil
}

// regionOf returns the region in the host of a base URL such as https://bedrock-runtime.us-east-1.amazonaws.com,
// or an empty string.
func regionOf(base *url.URL) string {
	for label := range strings.SplitSeq(base.Hostname(), ".") {
		if regionName.MatchString(label) && !strings.HasPrefix(label, "bedrock") && !strings.HasPrefix(label, "vpce") {
			return label
		}
	}
	return ""
}

// awsSigner signs requests with credentials from the AWS default chain: environment, shared files, web identity,
// and the role of the container or instance. It looks them up at the first call and caches them until they
// expire.
type awsSigner struct {
	mu          sync.Mutex
	region      string // if empty, the region in the shared AWS configuration
	credentials aws.CredentialsProvider
}

// Sign adds a SigV4 signature. The request must not be changed afterwards.
func (s *awsSigner) Sign(r *http.Request, payload *body.Payload) error {
	ctx, cancel := context.WithTimeout(r.Context(), credentialTime)
	defer cancel()
	region, chain, err := s.chain(ctx)
	if err != nil {
		return fmt.Errorf("no AWS credentials: %w", err)
	}
	credentials, err := chain.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("no AWS credentials: %w", err)
	}
	sum := sha256.Sum256(payload.Bytes())
	return v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), "bedrock", region, time.Now())
}

// chain returns the region and the credential chain, which caches its result.
func (s *awsSigner) chain(ctx context.Context) (string, aws.CredentialsProvider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.credentials == nil {
		c, err := config.LoadDefaultConfig(ctx, config.WithRegion(s.region),
			config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(credentialTime)))
		if err != nil {
			return "", nil, err
		}
		if c.Region == "" {
			return "", nil, errors.New("no region is configured")
		}
		s.region, s.credentials = c.Region, c.Credentials
	}
	return s.region, s.credentials, nil
}
