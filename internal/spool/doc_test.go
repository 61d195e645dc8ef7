package spool

import (
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

// field is a row of a table of docs/spool.md.
type field struct {
	offset, bytes int // bytes is -1 for the rest
	text          string
}

// table returns the rows below a heading of docs/spool.md.
func table(t *testing.T, doc, heading string) (rows [][]string) {
	_, rest, found := strings.Cut(doc, "\n### "+heading+"\n")
	require.True(t, found, heading)
	_, rest, found = strings.Cut(rest, "|---|---|---|\n")
	require.True(t, found, heading)
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// layout returns the fields of a table, which follow each other without a gap.
func layout(t *testing.T, doc, heading string) (fields []field) {
	end := 0
	for _, row := range table(t, doc, heading) {
		offset, err := strconv.Atoi(row[0])
		require.NoError(t, err)
		require.Equal(t, end, offset, "%s: %s", heading, row[2])
		n := -1
		if row[1] != "" {
			n, err = strconv.Atoi(row[1])
			require.NoError(t, err)
			end += n
		}
		fields = append(fields, field{offset, n, row[2]})
	}
	return fields
}

// cut takes bytes apart by a layout. A field's key is how its text begins.
func cut(fields []field, b []byte) func(text string) []byte {
	return func(text string) []byte {
		for _, f := range fields {
			if strings.HasPrefix(f.text, text) {
				if f.bytes < 0 {
					return b[f.offset:]
				}
				return b[f.offset : f.offset+f.bytes]
			}
		}
		panic("the document has no field " + text)
	}
}

func number(b []byte) uint64 {
	return binary.LittleEndian.Uint64(append(b[:len(b):len(b)], make([]byte, 8-len(b))...))
}

// documented is a decoder that knows nothing but docs/spool.md.
type documented struct {
	t                    *testing.T
	header, frame, moved []field
	kinds                map[uint64]string
	states               map[uint64]string
}

func newDocumented(t *testing.T) *documented {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "spool.md"))
	require.NoError(t, err)
	doc := string(raw)
	d := &documented{
		t: t, header: layout(t, doc, "Header"), frame: layout(t, doc, "Frame"), moved: layout(t, doc, "Moved"),
		kinds: map[uint64]string{}, states: map[uint64]string{},
	}
	for _, row := range table(t, doc, "Kinds") {
		n, err := strconv.ParseUint(row[0], 10, 8)
		require.NoError(t, err)
		d.kinds[n] = row[1]
	}
	for _, f := range d.moved {
		if rest, ok := strings.CutPrefix(f.text, "state: "); ok {
			for _, s := range regexp.MustCompile(`(\d+) (\w+)`).FindAllStringSubmatch(rest, -1) {
				n, err := strconv.ParseUint(s[1], 10, 8)
				require.NoError(t, err)
				d.states[n] = s[2]
			}
		}
	}
	return d
}

func castagnoliOf(parts ...[]byte) uint64 {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	for _, p := range parts {
		sum.Write(p)
	}
	return uint64(sum.Sum32())
}

// decode returns a segment in words.
func (d *documented) decode(b []byte) (lines []string) {
	require.Equal(d.t, b[:48], b[48:96], "two equal copies of 48 bytes")
	h := cut(d.header, b)
	require.Equal(d.t, "TGSPOOL1", string(h("`TGSPOOL1`")))
	require.Equal(d.t, castagnoliOf(b[:40]), number(h("CRC32C")))
	require.Zero(d.t, number(h("zero")))
	segment := h("number of this segment")
	lines = append(lines, fmt.Sprintf("segment %d after %d, which ends at %d; from %d on", number(segment),
		number(h("number of the segment before")), number(h("where the segment before")), number(h("lowest"))))
	for at := 96; at < len(b); {
		f := cut(d.frame, b[at:])
		require.Equal(d.t, "f15447fe", hex.EncodeToString(f("`f1 54 47 fe`")))
		length := int(number(f("length")))
		end := at + 48 + length
		place := append(append([]byte(nil), segment...), binary.LittleEndian.AppendUint64(nil, uint64(at))...)
		require.Equal(d.t, castagnoliOf(place, b[at+8:end]), number(f("CRC32C")), "at %d", at)
		require.Zero(d.t, number(f("zero")))
		kind := d.kinds[number(f("kind"))]
		lines = append(lines, fmt.Sprintf("%d at %d: %s %s %s", number(f("sequence")), number(f("time")), kind,
			hex.EncodeToString(f("id"))[16:], d.payload(kind, f("payload")[:length])))
		at = end
	}
	return lines
}

func (d *documented) payload(kind string, p []byte) string {
	switch kind {
	case "opened", "settled", "ledger":
		return string(p)
	case "done":
		var out []string
		for ; len(p) > 0; p = p[24:] {
			out = append(out, fmt.Sprintf("%d=%x", number(p[:8]), p[16:24]))
		}
		return strings.Join(out, " ")
	case "rejected":
		return fmt.Sprintf("%d %s", number(p[:8]), p[8:])
	case "retry":
		var out []string
		for ; len(p) > 0; p = p[8:] {
			out = append(out, fmt.Sprint(number(p[:8])))
		}
		return strings.Join(out, " ")
	case "adopted":
		return fmt.Sprintf("%x %s", p[:16], d.payload("moved", p[16:]))
	case "taken":
		return fmt.Sprintf("%x %x %s", p[:16], p[16:32], d.payload("moved", p[32:]))
	case "passed":
		return fmt.Sprintf("%d %s", number(p[:8]), p[8:])
	case "moved":
		m := cut(d.moved, p)
		require.Zero(d.t, number(m("zero")))
		words := number(m("length of Lago's error"))
		rest := m("Lago's error")
		return fmt.Sprintf("%d of %d %s %q %s", number(m("sequence")), number(m("time")), d.states[number(m("state"))], rest[:words], rest[words:])
	}
	d.t.Fatalf("the document has no kind %q", kind)
	return ""
}

const goldenAdoption = "adopted-000102030405060708090a0b0c0d0e0f"

// writeGolden makes a spool with frames of every kind. That of an adopted record is encoded here, as its number is random.
func writeGolden(t *testing.T) (*simFS, Options) {
	fs, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
	o := Options{Dir: modelDir, FS: fs, ReserveBytes: -1, manual: true, Now: func() time.Time { return now }}
	s := mustOpen(t, o)
	for i := 1; i <= 3; i++ {
		require.NoError(t, s.Begin(testID(i), fmt.Appendf(nil, `{"opened":%d}`, i)))
		now = now.Add(time.Millisecond)
		require.NoError(t, s.Settle(testID(i), fmt.Appendf(nil, `{"settled":%d}`, i), i < 3))
	}
	got, err := s.Claim(t.Context(), 2)
	require.NoError(t, err)
	require.NoError(t, s.Done(got[0].Seq))
	require.NoError(t, s.Reject(got[1].Seq, []byte(`{"error":"first"}`)))
	_, err = s.Retry()
	require.NoError(t, err)
	require.NoError(t, s.Reject(got[1].Seq, []byte(`{"error":"second"}`)))
	_, err = s.Amend(got[1].Seq, []byte(`{"amended":2}`))
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = mustOpen(t, o)
	a, ok := adoptionOf(goldenAdoption)
	require.True(t, ok)
	// An adopted record as it was written before there were consumers.
	m := moved{time: millis(now), state: StateInterrupted, payload: []byte(`{"opened":4}`)}
	require.NoError(t, s.append(&draft{frame: frame{kind: kindAdopted, time: millis(now), id: testID(4), payload: m.append(a[:])}}))
	require.NoError(t, s.commit(a))
	require.NoError(t, s.Close())

	o.Consumers = []string{"books"}
	s = mustOpen(t, o)
	origin := Origin{Spool: LogID{0xaa, 15: 0xbb}, Seq: 77}
	_, err = s.copyOver(Record{ID: testID(5), State: StateDone, Time: now, Payload: []byte(`{"settled":5}`), Origin: origin}, a)
	require.NoError(t, err)
	require.NoError(t, s.Pass("books", 6))
	require.NoError(t, s.Close())
	return fs, o
}

// TestFormatIsAsDocumented holds the bytes that are written against a golden file, takes them apart by the tables of
// docs/spool.md alone, and reads them again.
func TestFormatIsAsDocumented(t *testing.T) {
	fs, o := writeGolden(t)
	d := newDocumented(t)
	var lines []string
	for number := uint64(1); number <= 3; number++ {
		name := segmentName(number)
		golden := filepath.Join("testdata", name+".hex")
		written := fs.content(modelDir + "/" + name)
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(hex.Dump(written)), 0o600))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), hex.Dump(written), "the format has changed: spools that were written before cannot be read any more")
		lines = append(lines, d.decode(written)...)
	}
	require.Equal(t, []string{
		`segment 1 after 0, which ends at 0; from 1 on`,
		`1 at 1800000000000: opened 0000000000000001 {"opened":1}`,
		`2 at 1800000000001: settled 0000000000000001 {"settled":1}`,
		`3 at 1800000000001: opened 0000000000000002 {"opened":2}`,
		`4 at 1800000000002: settled 0000000000000002 {"settled":2}`,
		`5 at 1800000000002: opened 0000000000000003 {"opened":3}`,
		`6 at 1800000000003: ledger 0000000000000003 {"settled":3}`,
		`7 at 1800000000003: done 0000000000000000 2=0000000000000001`,
		`8 at 1800000000003: rejected 0000000000000000 4 {"error":"first"}`,
		`9 at 1800000000003: retry 0000000000000000 4`,
		`10 at 1800000000003: rejected 0000000000000000 4 {"error":"second"}`,
		`11 at 1800000000003: moved 0000000000000002 4 of 1800000000002 rejected "{\"error\":\"second\"}" {"amended":2}`,
		`segment 2 after 1, which ends at 837; from 12 on`,
		`12 at 1800000000003: adopted 0000000000000004 000102030405060708090a0b0c0d0e0f 0 of 1800000000003 interrupted "" {"opened":4}`,
		`segment 3 after 2, which ends at 196; from 4294967309 on`,
		`4294967309 at 1800000000003: taken 0000000000000005 000102030405060708090a0b0c0d0e0f aa0000000000000000000000000000bb 77 of 1800000000003 done "" {"settled":5}`,
		`4294967310 at 1800000000003: passed 0000000000000000 6 books`,
	}, lines)
	require.Equal(t, map[ID]string{
		testID(1): `done {"settled":1}`, testID(2): `rejected {"amended":2} because {"error":"second"}`,
		testID(3): `done {"settled":3}`, testID(4): `open {"opened":4}`, testID(5): `done {"settled":5}`,
	}, stateMap(scan(t, mustOpen(t, o))))
}

// TestNumbersInTheDocument compares limits, names and defaults in the document with the code.
func TestNumbersInTheDocument(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "spool.md"))
	require.NoError(t, err)
	var o Options
	o.defaults()
	doc := strings.Join(strings.Fields(string(raw)), " ")
	for _, text := range []string{
		fmt.Sprintf("`%s`, ...", segmentName(1)),
		fmt.Sprintf("one ends at %d MiB", o.SegmentBytes>>20),
		fmt.Sprintf("`reserve` | %d MiB", o.ReserveBytes>>20),
		fmt.Sprintf("length of the payload, at most %d", maxFrame),
		fmt.Sprintf("A record is at most %d MiB, Lago's error %d MiB; `done` and `retry` name at most %d records", maxPayload>>20, maxNote>>20, maxListed),
		fmt.Sprintf("Two equal copies of %d bytes", headerCopy),
		fmt.Sprintf("every %.0f seconds", maintainEvery.Seconds()),
		"`" + adoptedPrefix + "NUMBER`", "`" + adoptingName + "`, `" + adoptedName + "`",
	} {
		require.Contains(t, doc, text)
	}
	require.Equal(t, time.Second, probeEvery)
	require.Equal(t, strings.Repeat(`39412c5c 000102030405060708090a0b0c0d0e0f "/var/lib/new \"spool\""`+"\n", 2),
		string(adoptingFile(adoption{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, `/var/lib/new "spool"`)))
}
