package lagobilling

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// findPrice returns why the call has no price at a target. Unbilled calls need none.
func (h *Handler) findPrice(c *llm.Call, t *llm.Target) error {
	if c.Endpoint != nil && c.Endpoint.Billing != llm.Billable {
		return nil
	}
	if err := h.tariff.Priced(t, c.Request.Tier, c.Start); err != nil {
		return err
	}
	if h.rejectPrice && h.unmeasurable(c, t) {
		return errUnmeasurable
	}
	return nil
}

// errUnmeasurable reports that a transcription has no price although its model has one.
var errUnmeasurable = fmt.Errorf("%w: neither the file nor the answer states the length of the recording", price.ErrUnpriced)

// unmeasurable reports whether neither the upload nor the answer would have the quantity that a transcription is priced by.
func (h *Handler) unmeasurable(c *llm.Call, t *llm.Target) bool {
	return c.Endpoint != nil && c.Endpoint.Reader == usage.OpenAITranscription && c.Request.SoundUnknown &&
		!usage.TranscriptionReports(t.Provider, t.BaseURL, c.Request.AnswerFormat) && h.tariff.PricesSound(t, c.Request.Tier, c.Start)
}

// priced is the call's Priced: fallbacks to a backend or model without a price are refused too.
func (h *Handler) priced(c *llm.Call, t *llm.Target) bool { return h.findPrice(c, t) == nil }

// quote is the call's Quote.
func (h *Handler) quote(c *llm.Call, t *llm.Target, counts *usage.Counts) (price.Amount, error) {
	if c.Endpoint != nil && c.Endpoint.Billing != llm.Billable {
		return price.Amount{}, nil
	}
	return h.tariff.Quote(t, c.Request.Tier, c.Start, counts)
}

// checkPriced refuses a call whose model has no price, if so configured, once the route has chosen the backend.
func (h *Handler) checkPriced(c *llm.Call) *llm.Error {
	t := c.Target()
	if !h.rejectPrice || t == nil {
		return nil
	}
	err := h.findPrice(c, t)
	if err == nil {
		return h.checkOthersPriced(c, t)
	}
	if !errors.Is(err, price.ErrUnpriced) {
		return &llm.Error{Status: http.StatusInternalServerError, Type: "internal_server_error", Message: "the call cannot be priced", Err: err}
	}
	if errors.Is(err, errUnmeasurable) {
		return &llm.Error{
			Status: http.StatusBadRequest, Type: "unpriced_model", Param: "response_format", Err: err,
			Message: "the length of the recording is not known, so the call cannot be billed: send WAV, MP3, FLAC, Ogg, MP4 or WebM whose header has the " +
				"length, or ask for verbose_json before the file",
		}
	}
	return &llm.Error{
		Status: http.StatusBadRequest, Type: "unpriced_model", Param: "model", Err: err,
		Message: "the model " + strconv.Quote(c.Request.Asked) + " has no price here, so it cannot be billed; ask the operator to give it one",
	}
}

// checkOthersPriced refuses a call that makes the provider run another model that has no price.
func (h *Handler) checkOthersPriced(c *llm.Call, t *llm.Target) *llm.Error {
	for _, o := range c.Request.Others {
		other := *t
		other.Upstream, other.Prices = o.Name, nil
		if o.Name != "" && h.findPrice(c, &other) == nil {
			continue
		}
		message := "the model " + strconv.Quote(o.Name) + " in " + o.Member + " has no price here, so it cannot be billed; leave it out"
		if o.Name == "" {
			message = o.Member + " lets the provider choose another model, whose price is unknown; leave it out, or name the models"
		}
		return &llm.Error{Status: http.StatusBadRequest, Type: "unpriced_model", Param: o.Member, Message: message}
	}
	return nil
}
