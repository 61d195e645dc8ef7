package keys

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// TestDamagedRecordIsAFaultOfItsKeyAlone puts what is no record of the key, or of its team, into Redis: the key is neither valid nor unknown, and
// other keys work as before.
func TestDamagedRecordIsAFaultOfItsKeyAlone(t *testing.T) {
	server := testkit.Redis(t)
	c, o := newTestDirectory(t, openRedis(server), time.Now)
	sound := generate(t, c, `{"team_id":"sound","key_alias":"sound"}`)
	redis := redisClient(t, server)
	soundRecord := redis.Get(t.Context(), "tollgate:key:"+DigestOf(sound).String()).Val()
	require.NotEmpty(t, soundRecord)
	for i, damage := range []string{
		"a list", "null", "{}", "[]", "7", `""`, "", "{", soundRecord, `{"token":"%s","models":"gpt-4o"}`, `{"token":"%s","expires":"soon"}`,
		`{"token":"%s","metadata":{"lago_subscription_id":42}}`, `{"token":"%s","metadata":{"fixed_payer":"true"}}`,
		"team: a list", "team: null", "team: {}", `team: {"team_id":"sound"}`, `team: {"team_id":"%s","blocked":"no"}`,
	} {
		team := fmt.Sprint("damaged", i)
		key := generate(t, c, `{"team_id":"`+team+`"}`)
		name, id := "tollgate:key:"+DigestOf(key).String(), DigestOf(key).String()
		if len(damage) > 6 && damage[:6] == "team: " {
			damage, name, id = damage[6:], "tollgate:team:"+team, team
		}
		require.NoError(t, redis.Del(t.Context(), name).Err())
		if damage == "a list" {
			require.NoError(t, redis.LPush(t.Context(), name, "x").Err())
		} else {
			require.NoError(t, redis.Set(t.Context(), name, strings.ReplaceAll(damage, "%s", id), 0).Err())
		}
		c.Missed()
		_, err := c.Lookup(t.Context(), DigestOf(key), testBounds)
		require.ErrorIs(t, err, ErrMalformed, damage)
		require.False(t, c.circuit.down.Load(), "the store is up")
		c.Missed()
		_, err = c.Lookup(t.Context(), DigestOf(sound), testBounds)
		require.NoError(t, err, "another key, after %s", damage)
	}
	_, total, err := NewService(c, nil).List(t.Context(), Filter{KeyAlias: "sound"}, Order{}, Page{Size: 10})
	require.NoError(t, err, "damaged records are left out of a list")
	require.Equal(t, 1, total)
	_, err = NewService(c, nil).DeleteTeams(t.Context(), fields(t, `{"team_ids":["sound"]}`))
	require.NoError(t, err, "and hold up no deletion")
	_, err = c.Lookup(t.Context(), DigestOf(sound), testBounds)
	require.ErrorIs(t, err, ErrUnknown)
	require.NotNil(t, o)
}

// TestLostTeamIsNoLicence removes a team's record, as a store that was restored without it would: its keys are refused as while a store is down, and work
// again when the team is back.
func TestLostTeamIsNoLicence(t *testing.T) {
	server := testkit.Redis(t)
	c, _ := newTestDirectory(t, openRedis(server), time.Now)
	for _, fieldsOfKey := range []string{`{"team_id":"lost"}`, `{"team_id":"lost","models":["gpt-4o"]}`} {
		key := generate(t, c, fieldsOfKey)
		_, err := c.Lookup(t.Context(), DigestOf(key), testBounds)
		require.NoError(t, err, "the first key makes the team")
		require.NoError(t, redisClient(t, server).Del(t.Context(), "tollgate:team:lost").Err())
		c.Missed()
		_, err = c.Lookup(t.Context(), DigestOf(key), testBounds)
		require.ErrorIs(t, err, errStoreContent)
		_, _, err = NewService(c, nil).Regenerate(t.Context(), named(key))
		require.ErrorContains(t, err, "no such team")
		_, err = NewService(c, nil).NewTeam(t.Context(), fields(t, `{"team_id":"lost","blocked":true}`))
		require.NoError(t, err)
		state, err := c.Lookup(t.Context(), DigestOf(key), testBounds)
		require.NoError(t, err)
		require.True(t, state.TeamBlocked)
		_, err = NewService(c, nil).DeleteTeams(t.Context(), fields(t, `{"team_ids":["lost"]}`))
		require.NoError(t, err)
	}
}

// TestTeamDeletionAndNewKeysExcludeEachOther makes, moves and replaces keys of a team while it is deleted: afterwards no key of the deleted team is left.
func TestTeamDeletionAndNewKeysExcludeEachOther(t *testing.T) {
	for name, open := range map[string]func() keystore.Store{
		"file": func() keystore.Store {
			s, err := keystore.OpenFile(t.TempDir())
			require.NoError(t, err)
			return s
		},
		"redis": func() keystore.Store { return openRedis(testkit.Redis(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := newTestDirectory(t, open(), time.Now)
			s := NewService(c, nil)
			ctx := context.Background()
			for range 5 {
				team, err := s.NewTeam(ctx, fields(t, `{"models":["gpt-4o"],"max_budget":1}`))
				require.NoError(t, err)
				var made sync.Map
				var wg sync.WaitGroup
				ended := make(chan struct{})
				for i := range 4 {
					wg.Go(func() {
						for {
							select {
							case <-ended:
								return
							default:
							}
							rec, key, err := s.Generate(ctx, fields(t, `{"team_id":"`+team.ID+`"}`))
							if err != nil {
								continue // the team is being deleted
							}
							made.Store(key, rec.CreatedAt)
							if i%2 == 0 {
								if _, again, err := s.Regenerate(ctx, named(key)); err == nil {
									made.Store(again, rec.CreatedAt)
								}
							}
						}
					})
				}
				_, err = s.DeleteTeams(ctx, fields(t, `{"team_ids":["`+team.ID+`"]}`))
				require.NoError(t, err)
				close(ended)
				wg.Wait()
				made.Range(func(key, _ any) bool {
					state, err := c.Lookup(ctx, DigestOf(key.(string)), testBounds)
					if err == nil { // made after the deletion, with a team of that name anew
						again, err := s.Team(ctx, team.ID)
						require.NoError(t, err)
						require.True(t, again.Implied)
						require.Empty(t, state.Identity.TeamModels)
						return true
					}
					require.ErrorIs(t, err, ErrUnknown, "no key is left without its team's record")
					return true
				})
			}
		})
	}
}

func TestAccessGroupsAreRefusedAndOpenNothing(t *testing.T) {
	c, _ := fileDirectory(t, time.Now)
	s := NewService(c, nil)
	_, _, err := s.Generate(t.Context(), fields(t, `{"access_group_ids":["g"]}`))
	require.ErrorContains(t, err, "access_group_ids")
	_, err = s.NewTeam(t.Context(), fields(t, `{"access_group_ids":["g"]}`))
	require.ErrorContains(t, err, "access_group_ids")
	_, _, err = s.Generate(t.Context(), fields(t, `{"access_group_ids":[]}`))
	require.NoError(t, err)
	for _, tt := range []struct {
		key, team string
		allowed   bool
	}{
		{`{}`, `{}`, true},
		{`{"extra":{"access_group_ids":[]}}`, `{}`, true},
		{`{"extra":{"access_group_ids":["g"]}}`, `{}`, false},
		{`{"extra":{"access_group_ids":["g"]},"models":["gpt-*"]}`, `{}`, true},
		{`{}`, `{"extra":{"access_group_ids":["g"]}}`, false},
		{`{"models":["gpt-4o"]}`, `{"extra":{"access_group_ids":["g"]}}`, false},
		{`{"models":["no-default-models"]}`, `{}`, false},
	} {
		k, err := Decode[Key]("", []byte(tt.key))
		require.NoError(t, err)
		team, err := Decode[Team]("", []byte(tt.team))
		require.NoError(t, err)
		st := keyState(k)
		require.NoError(t, st.join(team))
		id := st.Identity
		require.Equal(t, tt.allowed, id.Allows("gpt-4o"), "%s %s", tt.key, tt.team)
		require.False(t, id.Allows("no-default-models") && !tt.allowed)
	}
}

func TestKeysMoveOnlyToTeamsThatExist(t *testing.T) {
	c, _ := fileDirectory(t, time.Now)
	s := NewService(c, nil)
	key := generate(t, c, `{}`)
	_, err := s.Update(t.Context(), fields(t, `{"key":"`+key+`","team_id":"nowhere"}`))
	require.ErrorContains(t, err, "team_id: no such team")
	_, err = s.NewTeam(t.Context(), fields(t, `{"team_id":"there","blocked":true}`))
	require.NoError(t, err)
	_, err = s.Update(t.Context(), fields(t, `{"key":"`+key+`","team_id":"there"}`))
	require.NoError(t, err)
	state, err := c.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	require.True(t, state.TeamBlocked)
	_, err = s.Update(t.Context(), fields(t, `{"key":"`+key+`","team_id":null}`))
	require.NoError(t, err)

	master := DigestOf("sk-the-master-key")
	s = NewService(c, &master)
	_, _, err = s.Generate(t.Context(), fields(t, `{"key":"sk-the-master-key"}`))
	require.ErrorContains(t, err, "is the master key")
	_, _, err = s.Regenerate(t.Context(), fields(t, `{"key":"`+key+`","new_key":"sk-the-master-key"}`))
	require.ErrorContains(t, err, "is the master key")
}

// TestShuttingOutNeedsNoMemory fills Redis up to maxmemory: no new record is made, but whatever shuts somebody out works.
func TestShuttingOutNeedsNoMemory(t *testing.T) {
	server := testkit.Redis(t)
	c, _ := newTestDirectory(t, openRedis(server), time.Now)
	s := NewService(c, nil)
	ctx := t.Context()
	blocked, limited, aliased, deleted, member := generate(t, c, `{}`), generate(t, c, `{}`), generate(t, c, `{"key_alias":"a"}`), generate(t, c, `{}`), generate(t, c, `{"team_id":"t"}`)
	generate(t, c, `{"team_id":"u"}`)
	require.NoError(t, redisClient(t, server).ConfigSet(ctx, "maxmemory", "100kb").Err())

	_, _, err := s.Generate(ctx, fields(t, `{}`))
	require.ErrorContains(t, err, "raise Redis' maxmemory")
	_, err = s.Block(ctx, named(blocked), true)
	require.NoError(t, err)
	_, err = s.Block(ctx, named(aliased), true)
	require.NoError(t, err)
	_, err = s.Update(ctx, fields(t, `{"key":"`+limited+`","models":["gpt-4o"],"max_budget":0,"rpm_limit":1}`))
	require.NoError(t, err)
	_, err = s.Delete(ctx, fields(t, `{"keys":["`+deleted+`"]}`))
	require.NoError(t, err)
	_, err = s.UpdateTeam(ctx, fields(t, `{"team_id":"u","blocked":true,"tpm_limit":1}`))
	require.NoError(t, err)
	for _, key := range []string{blocked, aliased} {
		state, err := c.Lookup(ctx, DigestOf(key), testBounds)
		require.NoError(t, err)
		require.True(t, state.Blocked)
	}
	state, err := c.Lookup(ctx, DigestOf(limited), testBounds)
	require.NoError(t, err)
	require.False(t, state.Identity.Allows("o3"))
	_, err = c.Lookup(ctx, DigestOf(deleted), testBounds)
	require.ErrorIs(t, err, ErrUnknown)
	_, err = s.DeleteTeams(ctx, fields(t, `{"team_ids":["t"]}`))
	require.NoError(t, err)
	_, err = c.Lookup(ctx, DigestOf(member), testBounds)
	require.ErrorIs(t, err, ErrUnknown)
}

// TestInterruptedDeletionOfATeamIsCompleted leaves a deletion after its first step: nothing joins the team, and the next deletion ends it.
func TestInterruptedDeletionOfATeamIsCompleted(t *testing.T) {
	c, _ := fileDirectory(t, time.Now)
	s := NewService(c, nil)
	ctx := t.Context()
	key, other := generate(t, c, `{"team_id":"t"}`), generate(t, c, `{}`)
	old, err := c.store.Get(ctx, keystore.TeamKind, "t")
	require.NoError(t, err)
	team, err := Decode[Team]("t", old)
	require.NoError(t, err)
	team.Blocked, team.Deleting = true, true
	require.NoError(t, s.Apply(ctx, keystore.Change{Kind: keystore.TeamKind, ID: "t", Old: old, New: Encode(team)}))

	_, _, err = s.Generate(ctx, fields(t, `{"team_id":"t"}`))
	require.ErrorContains(t, err, "is being deleted")
	_, err = s.Update(ctx, fields(t, `{"key":"`+other+`","team_id":"t"}`))
	require.ErrorContains(t, err, "is being deleted")
	_, _, err = s.Regenerate(ctx, named(key))
	require.ErrorContains(t, err, "is being deleted")
	_, err = s.NewTeam(ctx, fields(t, `{"team_id":"t"}`))
	require.ErrorContains(t, err, "is being deleted")
	_, err = s.UpdateTeam(ctx, fields(t, `{"team_id":"t","blocked":false}`))
	require.ErrorContains(t, err, "is being deleted")
	_, err = s.DeleteTeams(ctx, fields(t, `{"team_ids":["t"]}`))
	require.NoError(t, err)
	_, err = c.Lookup(ctx, DigestOf(key), testBounds)
	require.ErrorIs(t, err, ErrUnknown)
	generate(t, c, `{"team_id":"t"}`)
}
