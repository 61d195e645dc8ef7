package keyauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// StoreConfig is where keys are kept: in exactly one of the two.
type StoreConfig struct {
	// File is the embedded store: one file, for one process.
	File *FileConfig `json:"file,omitempty"`
	// Redis is the store that several instances share.
	Redis *RedisConfig `json:"redis,omitempty"`
}

// FileConfig configures the embedded store.
type FileConfig struct {
	// Dir is the directory of the file keys.db. Default: tollgate/keys in Caddy's data directory.
	Dir string `json:"dir,omitempty"`
}

// RedisConfig configures the Redis store.
type RedisConfig struct {
	// Addresses are host:port of the server, of the sentinels, or of some nodes of a cluster: several addresses without
	// Sentinel are a cluster.
	Addresses []string `json:"addresses"`
	// Username is that of an ACL user. Default: none.
	Username string `json:"username,omitempty"`
	// Password belongs to the user, or to the server when there is no user. Default: none.
	Password string `json:"password,omitempty"`
	// DB is the database's number; a cluster has only 0. Default: 0.
	DB string `json:"db,omitempty"`
	// Prefix begins the name of every Redis key. Default: "tollgate:".
	Prefix string `json:"prefix,omitempty"`
	// TLS encrypts the connection and verifies the server by the system's roots. Default: false.
	TLS bool `json:"tls,omitempty"`
	// Sentinel is the name under which sentinels know the master. Default: none.
	Sentinel string `json:"sentinel,omitempty"`
}

const (
	defaultPrefix = "tollgate:"
	maxPrefix     = 100
	maxDB         = 1<<16 - 1
)

// use asks the app for the cache in front of the configured store.
func (c *StoreConfig) use(a *app.App) (*app.Ref[*keys.Cache], error) {
	switch {
	case c == nil || (c.File == nil && c.Redis == nil):
		return (&FileConfig{}).use(a)
	case c.File != nil && c.Redis != nil:
		return nil, errors.New("store: either file or redis, not both")
	case c.File != nil:
		return c.File.use(a)
	}
	options, secret, err := c.Redis.resolve()
	if err != nil {
		return nil, err
	}
	open := func() (*keys.Cache, error) {
		logRedis()
		s := keystore.OpenRedis(*options)
		s.Authenticate(secret.username, secret.password)
		return keys.NewCache(s, caddy.Log().Named("http.handlers.keyauth"), time.Now), nil
	}
	configure := func(c *keys.Cache) {
		if s, ok := c.Store().(*keystore.Redis); ok { // the name below is that of a Redis store
			s.Authenticate(secret.username, secret.password)
		}
	}
	return app.Use(a, "keyauth "+redisName(options, secret), open, configure), nil
}

// redisName distinguishes stores in Redis.
func redisName(o *keystore.RedisOptions, secret *redisSecret) string {
	return fmt.Sprintf("redis %q db %d prefix %q user %q tls %t sentinel %q", o.Addresses, o.DB, o.Prefix, secret.username, o.TLS, o.Sentinel)
}

func (c *FileConfig) use(a *app.App) (*app.Ref[*keys.Cache], error) {
	dir, err := c.dir()
	if err != nil {
		return nil, err
	}
	open := func() (*keys.Cache, error) {
		s, err := keystore.OpenFile(dir)
		if err != nil {
			return nil, err
		}
		return keys.NewCache(s, caddy.Log().Named("http.handlers.keyauth"), time.Now), nil
	}
	return app.Use(a, "keyauth file "+dir, open, nil), nil
}

// dir returns the directory of the store's files.
func (c *FileConfig) dir() (string, error) {
	dir := filepath.Join(caddy.AppDataDir(), "tollgate", "keys")
	if c.Dir != "" {
		var err error
		if dir, err = setting.Resolve("store file", c.Dir); err != nil {
			return "", err
		}
	}
	return filepath.Abs(dir)
}

// redisSecret is what may change without making it another store: a rotated password serves the next connection.
type redisSecret struct{ username, password string }

// logRedis moves what go-redis prints to standard error, a line for every attempt during an outage, to Caddy's log at
// DEBUG. The faults themselves are returned as errors and logged by their consequence.
var logRedis = sync.OnceFunc(func() { redis.SetLogger(redisLog{}) })

type redisLog struct{}

func (redisLog) Printf(_ context.Context, format string, v ...any) {
	caddy.Log().Named("redis").Debug(fmt.Sprintf(format, v...))
}

func (c *RedisConfig) resolve() (*keystore.RedisOptions, *redisSecret, error) {
	o := &keystore.RedisOptions{Prefix: defaultPrefix, TLS: c.TLS}
	secret := new(redisSecret)
	for _, v := range []struct {
		name, written string
		to            *string
	}{
		{"store redis username", c.Username, &secret.username},
		{"store redis password", c.Password, &secret.password},
		{"store redis prefix", c.Prefix, &o.Prefix},
		{"store redis sentinel", c.Sentinel, &o.Sentinel},
	} {
		if v.written == "" {
			continue
		}
		var err error
		if *v.to, err = setting.Resolve(v.name, v.written); err != nil {
			return nil, nil, err
		}
	}
	if len(c.Addresses) == 0 {
		return nil, nil, errors.New("store redis: at least one address is needed")
	}
	for _, written := range c.Addresses {
		address, err := setting.Resolve("store redis address", written)
		if err != nil {
			return nil, nil, err
		}
		if err := checkAddress(address); err != nil {
			return nil, nil, err
		}
		if slices.Contains(o.Addresses, address) {
			return nil, nil, fmt.Errorf("store redis: address %s is given twice", address)
		}
		o.Addresses = append(o.Addresses, address)
	}
	if err := checkPrefix(o.Prefix); err != nil {
		return nil, nil, err
	}
	var err error
	if o.DB, err = setting.Int("store redis db", c.DB, 0, 0, maxDB); err != nil {
		return nil, nil, err
	}
	if o.Cluster() && o.DB != 0 {
		return nil, nil, errors.New("store redis: a cluster (several addresses without sentinel) has only db 0")
	}
	if secret.username != "" && secret.password == "" {
		return nil, nil, errors.New("store redis: username without password")
	}
	return o, secret, nil
}

// checkAddress never repeats what it refuses: a URL may hold a password.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil && isHost(host) {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return nil
		}
	}
	return errors.New("store redis: an address is host:port, such as localhost:6379, and no URL")
}

// hostName has the characters of DNS names, and the underscores of containers.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$`)

// isHost reports whether s is an IP address, or has only what names of hosts have.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return hostName.MatchString(s)
}

func checkPrefix(prefix string) error {
	if len(prefix) > maxPrefix || strings.ContainsAny(prefix, "{}") || llm.CheckName(prefix) != nil {
		return fmt.Errorf("prefix: at most %d bytes without braces, control characters and surrounding spaces", maxPrefix)
	}
	return nil
}

// resolveMasterKey checks that the key can be sent in a header. Its errors do not hold it.
func resolveMasterKey(written string) (string, error) {
	key, err := setting.Resolve("master_key", written)
	if err != nil {
		return "", err
	}
	if key != strings.TrimSpace(key) || strings.ContainsFunc(key, unicode.IsControl) || len(key) > keys.MaxBytes {
		return "", fmt.Errorf("master_key: at most %d bytes without control characters and surrounding spaces", keys.MaxBytes)
	}
	return key, nil
}
