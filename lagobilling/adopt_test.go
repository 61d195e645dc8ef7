package lagobilling

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// deadSpool is the spool of an instance that is gone: pending, rejected and interrupted records.
func deadSpool(t *testing.T, account string) (dir string, events []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "dead")
	t.Run("dead instance", func(t *testing.T) { events = fillDeadSpool(t, account, dir) })
	return dir, events
}

func fillDeadSpool(t *testing.T, account, dir string) (events []string) {
	t.Helper()
	b := newBench(t, &Handler{Account: account, EventCode: "tokens", Spool: t.TempDir()})
	for range 3 {
		_, _, err := b.post(chatRoute(plain("application/json", jsonAnswer)))
		require.NoError(t, err)
		b.wait()
	}
	sp, err := spool.Open(spool.Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, b.account.Spool().Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
		bodies, err := record.Events(rec.Payload)
		if err != nil {
			return err
		}
		events = append(events, string(bodies[0]))
		if err := sp.Begin(rec.ID, rec.Payload); err != nil {
			return err
		}
		return sp.Settle(rec.ID, rec.Payload, true)
	}))
	records, err := sp.Claim(context.Background(), 1)
	require.NoError(t, err)
	require.NoError(t, sp.Reject(records[0].Seq, []byte(`{"error":"no"}`)))
	require.NoError(t, sp.Close())
	leaveOpen(t, dir)
	return events
}

func TestAdoptTakesOverADeadSpool(t *testing.T) {
	dir, events := deadSpool(t, "default")
	o := openOffice(t, fakelago.Options{}, "")
	out := o.run("adopt", dir)
	require.Contains(t, out, "account default has taken over 4 records: 2 pending, 1 rejected, 1 interrupted")
	o.until(func(st operator.Status) bool { return st.Finished == 2 && st.Rejected == 1 && st.Interrupted == 1 })
	o.run("retry")
	o.until(func(st operator.Status) bool { return st.Finished == 3 })
	require.Len(t, o.lago.Events(), 3)
	for _, e := range o.lago.Events() {
		require.Contains(t, events, e.Body, "byte-identical")
	}
	_, err := o.command("adopt", dir)
	require.ErrorContains(t, err, "adopted by another")
	require.Contains(t, offline(t, "status", "--spool", dir), "ADOPTED      by "+filepath.Join(o.dir, "spool"))
	require.Len(t, o.lago.Events(), 3)
	require.Empty(t, o.lago.Violations())
}

func TestAdoptEstimatesByPolicy(t *testing.T) {
	dir, _ := deadSpool(t, "default")
	o := openOffice(t, fakelago.Options{}, "interrupted estimate")
	require.Contains(t, o.run("adopt", dir), "1 interrupted (1 of these billed by estimate)")
	o.until(func(st operator.Status) bool { return st.Finished == 3 && st.Rejected == 1 && st.Interrupted == 0 })
}

func TestAdoptRefusesWhatIsNotItsOwn(t *testing.T) {
	dir, _ := deadSpool(t, "other")
	leaveOpen(t, dir) // of the account default
	o := openOffice(t, fakelago.Options{}, "")
	_, err := o.command("adopt", dir)
	require.ErrorContains(t, err, "several accounts: default, other")
	dir2 := filepath.Join(t.TempDir(), "dead")
	require.NoError(t, os.MkdirAll(dir2, 0o700))
	_, err = o.command("adopt", dir2)
	require.ErrorContains(t, err, "holds no spool")
	require.Empty(t, tree(t, dir2), "it was left alone")
	_, err = o.command("adopt", filepath.Join(o.dir, "spool"))
	require.ErrorContains(t, err, "in use by another process")
	live := filepath.Join(t.TempDir(), "live")
	leaveOpen(t, live)
	_, err = o.command("adopt", live, "--account", "another")
	require.ErrorContains(t, err, "belong to account default, not another")
	sp, err := spool.Open(spool.Options{Dir: live})
	require.NoError(t, err)
	_, err = o.command("adopt", live)
	require.ErrorContains(t, err, "in use by another process")
	require.NoError(t, sp.Close())
	require.Contains(t, o.run("adopt", live), "1 interrupted")
}
