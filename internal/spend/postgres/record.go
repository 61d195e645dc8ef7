package postgres

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// addRecords adds a row for each record, including the names that requests choose, whether or not they are kept apart. With asText, the
// record column is a JSON string that holds the record.
func (b *batch) addRecords(spoolID string, records []spool.Record, asText bool) error {
	var settled record.Settled
	for i, r := range records {
		if err := settled.Read(r.Payload); err != nil {
			return err // it was read before
		}
		at := settled.At
		if at.IsZero() {
			at = r.Time
		}
		facts, _, faults := spend.AddUp(spoolID, records[i:i+1], spend.Split{EndUsers: true, Sessions: true})
		if len(facts) != 1 {
			return errors.Join(faults...)
		}
		s := facts[0].Sums
		row := append([]string{hex.EncodeToString(r.ID[:]), at.UTC().Format(time.RFC3339Nano)}, b.values(facts[0].Value)...)
		row = append(row, number(s[spend.InputTokens], 0), number(s[spend.OutputTokens], 0), s[spend.Cost].String(), s[spend.BaseCost].String())
		whole := document(r.Payload)
		if asText {
			var err error
			if whole, err = quoted(r.Payload); err != nil {
				return err
			}
		}
		b.records.add(append(row, whole)...)
	}
	return nil
}

// noNUL replaces escaped NUL characters in JSON. It skips escaped backslashes, so that it does not match the text behind one.
var noNUL = strings.NewReplacer(`\\`, `\\`, `\u0000`, `\ufffd`)

// document returns a record's JSON in the form that jsonb accepts: without NUL characters, and with no half of a surrogate pair.
func document(payload []byte) string {
	if utf8.Valid(payload) && !bytes.Contains(payload, []byte(`\u`)) {
		return string(payload)
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return "null"
	}
	out, err := json.Marshal(v)
	if err != nil {
		return "null"
	}
	return noNUL.Replace(string(out))
}

// quoted returns a record as a JSON string, for records that jsonb rejects, such as one with a number beyond its range.
func quoted(payload []byte) (string, error) {
	out, err := json.Marshal(text(string(payload)))
	return string(out), err
}
