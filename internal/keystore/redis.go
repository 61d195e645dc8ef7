package keystore

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Redis keeps the records in Redis, where all instances share them. docs/keyauth.md describes the layout.
type Redis struct {
	client  redis.UniversalClient
	secret  atomic.Pointer[secret]
	prefix  string
	channel string
}

// secret is what may change without making it another store: a rotated password serves the next connection.
type secret struct{ username, password string }

// RedisOptions identify a store in Redis.
type RedisOptions struct {
	Addresses []string // host:port of the server, of sentinels, or of nodes of a cluster
	DB        int
	Prefix    string // begins the name of every Redis key
	TLS       bool
	Sentinel  string // the sentinels' name of the master; empty without sentinels
}

// Cluster reports whether the addresses are seeds of a Redis Cluster.
func (o *RedisOptions) Cluster() bool { return len(o.Addresses) > 1 && o.Sentinel == "" }

const (
	redisTimeout   = time.Second // to connect, to write and to read
	watchIdle      = 5 * time.Second
	watchBackoff   = 100 * time.Millisecond
	watchBackoffTo = time.Second
)

// OpenRedis makes the client. It connects when it is first used: Redis need not be up.
func OpenRedis(o RedisOptions) *Redis {
	s := &Redis{prefix: o.Prefix}
	if o.Cluster() {
		// One hash slot for all records, as a change touches a record, the index and the aliases in one step.
		s.prefix = "{" + o.Prefix + "}"
	}
	s.channel = s.prefix + "changed"
	s.secret.Store(&secret{})
	s.client = NewClient(o, func() (string, string) {
		c := s.secret.Load()
		return c.username, c.password
	})
	return s
}

// NewClient makes a client of a Redis as OpenRedis does. credentials are asked for with each connection.
func NewClient(o RedisOptions, credentials func() (username, password string)) redis.UniversalClient {
	u := &redis.UniversalOptions{
		Addrs: o.Addresses, DB: o.DB, MasterName: o.Sentinel, CredentialsProvider: credentials,
		MaxRetries: -1, DialerRetries: 1, // reads are tried again below; a change sent twice would undo what came between
		DialTimeout: redisTimeout, ReadTimeout: redisTimeout, WriteTimeout: redisTimeout, PoolTimeout: redisTimeout,
		ContextTimeoutEnabled:    true,
		DisableIdentity:          true, // no CLIENT SETINFO, to which a user may have no right
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if o.TLS {
		u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return redis.NewUniversalClient(u)
}

// Authenticate gives the credentials of connections made from now on.
func (s *Redis) Authenticate(username, password string) {
	s.secret.Store(&secret{username: username, password: password})
}

func (s *Redis) record(kind Kind, id string) string { return s.prefix + string(kind) + ":" + id }
func (s *Redis) index(kind Kind) string             { return s.prefix + string(kind) + "s" }
func (s *Redis) aliases(kind Kind) string           { return s.prefix + string(kind) + "-aliases" }

// Get returns a record.
func (s *Redis) Get(ctx context.Context, kind Kind, id string) ([]byte, error) {
	data, err := s.client.Get(ctx, s.record(kind, id)).Bytes()
	if err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") && ctx.Err() == nil {
		// Once more on another connection: the server may have closed this one while it was idle.
		data, err = s.client.Get(ctx, s.record(kind, id)).Bytes()
	}
	return data, known(err)
}

// GetAll returns records in the order of their ids.
func (s *Redis) GetAll(ctx context.Context, kind Kind, ids []string) ([][]byte, error) {
	all := make([][]byte, len(ids))
	if len(ids) == 0 {
		return all, nil
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = s.record(kind, id)
	}
	values, err := s.client.MGet(ctx, names...).Result()
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		if data, ok := v.(string); ok {
			all[i] = []byte(data)
		}
	}
	return all, nil
}

// ByAlias returns the id of the record with that alias.
func (s *Redis) ByAlias(ctx context.Context, kind Kind, alias string) (string, error) {
	id, err := s.client.HGet(ctx, s.aliases(kind), alias).Result()
	return id, known(err)
}

// known returns the error of this package for an error of Redis.
func known(err error) error {
	switch {
	case errors.Is(err, redis.Nil):
		return ErrNotFound
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	case redis.HasErrorPrefix(err, "OOM"):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

//go:embed apply.lua
var applySource string

var applyScript = redis.NewScript(applySource)

// Apply makes all changes in one script, which also publishes them.
func (s *Redis) Apply(ctx context.Context, changes ...Change) error {
	keys := make([]string, 0, 3*len(changes))
	args := make([]any, 0, 1+7*len(changes))
	args = append(args, s.channel)
	for _, c := range changes {
		keys = append(keys, s.record(c.Kind, c.ID), s.index(c.Kind), s.aliases(c.Kind))
		args = append(args, string(c.Kind), c.ID, c.Old, c.New, c.OldAlias, c.NewAlias, Version(c.New))
	}
	answer, err := applyScript.Run(ctx, s.client, keys, args...).Text()
	if err != nil {
		return known(err)
	}
	switch answer {
	case "ok":
		return nil
	case "changed":
		return ErrChanged
	case "alias":
		return ErrAliasTaken
	}
	return fmt.Errorf("unexpected answer %q of the script", answer)
}

// List returns records in the order of their ids. A record deleted meanwhile is left out; its page is filled up.
func (s *Redis) List(ctx context.Context, kind Kind, after string, limit int) ([]Row, error) {
	rows := make([]Row, 0, limit)
	for len(rows) < limit {
		from := "-"
		if after != "" {
			from = "(" + after
		}
		ids, err := s.client.ZRangeByLex(ctx, s.index(kind),
			&redis.ZRangeBy{Min: from, Max: "+", Count: int64(limit - len(rows))}).Result()
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			break
		}
		all, err := s.GetAll(ctx, kind, ids)
		if err != nil {
			return nil, err
		}
		for i, data := range all {
			if data != nil {
				rows = append(rows, Row{ID: ids[i], Data: data})
			}
		}
		after = ids[len(ids)-1]
	}
	return rows, nil
}

// Watch announces what is published. It subscribes again after an outage, and then reports that changes may have gone by.
func (s *Redis) Watch(ctx context.Context, w Watcher) {
	wait := watchBackoff
	for ctx.Err() == nil {
		err := s.subscribe(ctx, w, func() { wait = watchBackoff })
		if ctx.Err() != nil {
			return
		}
		w.Lost(err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = min(2*wait, watchBackoffTo)
	}
}

// subscribe announces what is published until the connection fails. A connection that is silent for watchIdle is asked
// for a sign of life, and given up when none comes in the same time.
func (s *Redis) subscribe(ctx context.Context, w Watcher, subscribed func()) error {
	ps := s.client.Subscribe(ctx, s.channel)
	closePS := context.AfterFunc(ctx, func() { _ = ps.Close() }) // a second Close is no fault
	defer func() {
		closePS()
		_ = ps.Close() // nothing to save: the connection has failed or is not wanted any more
	}()
	asked := false
	for {
		msg, err := ps.ReceiveTimeout(ctx, watchIdle)
		var timeout interface{ Timeout() bool }
		if errors.As(err, &timeout) && timeout.Timeout() && !asked {
			asked = true
			if err = ps.Ping(ctx); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		asked = false
		switch m := msg.(type) {
		case *redis.Subscription:
			if m.Kind == "subscribe" {
				subscribed()
				w.Missed()
			}
		case *redis.Message:
			kind, rest, _ := strings.Cut(m.Payload, ":")
			if v, id, ok := strings.Cut(rest, ":"); ok {
				w.Changed(Kind(kind), id, v)
			}
		}
	}
}

// Close closes all connections.
func (s *Redis) Close() error { return s.client.Close() }

// Interface guard.
var _ Store = (*Redis)(nil)
