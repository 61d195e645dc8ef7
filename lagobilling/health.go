package lagobilling

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// lateAfter is the age of the oldest undelivered record from which delivery is reported as late.
const lateAfter = time.Minute

// health checks the account's spool and delivery. An outage of Lago refuses no calls: records wait in the spool.
func (h *Handler) health(ctx context.Context) []app.Check {
	disk := app.Check{Name: "spool", Status: app.HealthDown, Reason: "the spool is not open"}
	a, release, err := h.account.Acquire(ctx)
	if err != nil {
		return []app.Check{disk}
	}
	defer release()
	disk.Account = a.Name()
	switch err := a.Spool().Ready(); {
	case err == nil:
		disk.Status, disk.Reason = app.HealthOK, ""
	case errors.Is(err, spool.ErrFull):
		disk.Reason = spool.ErrFull.Error()
	default:
		disk.Reason = spool.ErrUnavailable.Error()
	}
	if a.Settings().APIBase == "" {
		return []app.Check{disk}
	}
	stats := a.Spool().Stats()
	lago := app.Check{Name: "lago", Account: a.Name(), Status: app.HealthOK, Pending: &stats.Pending}
	if !stats.Oldest.IsZero() {
		age := time.Since(stats.Oldest)
		seconds := int64(age / time.Second)
		lago.OldestSeconds = &seconds
		if age >= lateAfter {
			lago.Status, lago.Reason = app.HealthDegraded, "records wait for Lago; calls are served and billed later"
		}
	}
	delivery := a.DeliveryStatus()
	if delivery.RefusedTotal > 0 {
		lago.Status, lago.Reason = app.HealthDegraded, "something in front of Lago refuses events: see caddy tollgate billing status"
	}
	if delivery.Stopped != "" {
		lago.Status, lago.Reason = app.HealthDegraded, "nothing is sent to Lago until an operator has acted: see caddy tollgate billing status"
	}
	return []app.Check{disk, lago}
}
