package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

const formType = "multipart/form-data; boundary=b0"

// formPart is one part of a form in wire format; a name that begins with @ is a file's.
func formPart(name, value string) string {
	disposition := fmt.Sprintf("Content-Disposition: form-data; name=%q", strings.TrimPrefix(name, "@"))
	if strings.HasPrefix(name, "@") {
		disposition += "; filename=\"a.wav\"\r\nContent-Type: audio/wav"
	}
	return "--b0\r\n" + disposition + "\r\n\r\n" + value + "\r\n"
}

func form(parts ...string) string {
	var b strings.Builder
	for i := 0; i < len(parts); i += 2 {
		b.WriteString(formPart(parts[i], parts[i+1]))
	}
	return b.String() + "--b0--\r\n"
}

// TestForms checks the values that decide about a call, with the form split at any byte, and the replacement of the model's
// name.
func TestForms(t *testing.T) {
	for _, text := range []string{
		form("model", "whisper-1", "user", "u1", "stream", "true", "n", "2", "@file", "\r\n--b\r\nbytes\x00\xff"),
		form("@file", "bytes", "user", "u1", "model", "whisper-1", "n", "2", "stream", "true"),
		strings.TrimSuffix(form("n", "2", "stream", "true", "user", "u1", "@file", "", "model", "whisper-1"), "\r\n"),
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			b, err := ParseForm(r, formType, false, int64(len(text)), 1<<20)
			require.NoError(t, err)
			require.Equal(t, []any{"whisper-1", "u1", true, int64(2)}, []any{b.ModelName, b.User, b.Stream, b.N})
			same := b.Edited("whisper-1", true)
			require.Equal(t, text, string(same.Bytes()), "what needs no change stays")
			require.True(t, same.Whole())
			other := b.Changed(Change{Model: "whisper-large", Usage: true})
			want := strings.Replace(text, "whisper-1", "whisper-large", 1)
			require.Equal(t, want, string(other.Bytes()))
			require.Equal(t, int64(len(want)), other.Len())
		}
	}
	b, err := ParseForm(strings.NewReader(form("prompt", "four", "model", "m", "@file", "not text")), formType, false, -1, 1<<20)
	require.NoError(t, err)
	require.Equal(t, int64(1000), b.Units, "texts count, the model's name and files do not")
}

// TestSoundUnknown covers forms with files of known and of unknown length.
func TestSoundUnknown(t *testing.T) {
	wav := "RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\x00\x00\x20\x00"
	big := strings.Repeat("\x80", 2<<20)
	for _, tt := range []struct {
		text    string
		unknown bool
		format  string
	}{
		{form("model", "m", "response_format", "text", "@file", wav+"abc"), false, "text"},
		{form("model", "m", "@file", "#!AMR\nabcdefgh", "response_format", "srt"), true, "srt"},
		{form("model", "m", "@file", "short"), true, ""},
		{form("model", "m"), true, ""},
		{form("model", "m", "@file", wav+big), false, ""},
		{form("model", "m", "@file", "#!AMR\n"+big, "response_format", "srt"), true, ""}, // beyond what is read before the call is admitted
		{form("model", "m", "@other", wav, "@file", "#!AMR\nabcdefgh"), true, ""},
	} {
		b, err := ParseForm(strings.NewReader(tt.text), formType, false, -1, 16<<20)
		require.NoError(t, err)
		require.Equal(t, tt.unknown, b.SoundUnknown, tt.text[:min(len(tt.text), 200)])
		require.Equal(t, tt.format, b.AnswerFormat)
	}
	b, err := Parse([]byte(`{"model":"m","response_format":"text"}`))
	require.NoError(t, err)
	require.Equal(t, "text", b.AnswerFormat)
	b, err = Parse([]byte(`{"model":"m","response_format":{"type":"json_object"}}`))
	require.NoError(t, err)
	require.Empty(t, b.AnswerFormat)
}

// TestFormRefusals covers forms that are ambiguous or incomplete.
func TestFormRefusals(t *testing.T) {
	field := func(header, value string) string { return "--b0\r\n" + header + "\r\n\r\n" + value + "\r\n--b0--\r\n" }
	for _, tt := range []struct{ contentType, text, message, param string }{
		{"multipart/form-data", form("model", "m"), "needs one boundary", "Content-Type"},
		{"multipart/form-data; boundary=a; boundary=b0", form("model", "m"), "needs one boundary", "Content-Type"},
		{"multipart/form-data; boundary=\"b 0\"", form("model", "m"), "holds a space", "Content-Type"},
		{"multipart/form-data; boundary=" + strings.Repeat("b", 71), form("model", "m"), "needs one boundary", "Content-Type"},
		{formType, "preamble\r\n" + form("model", "m"), "does not begin with its boundary", ""},
		{formType, "--b", "breaks off", ""},
		{formType, formPart("model", "m"), "breaks off", ""},
		{formType, form("model", "m") + "more", "has ended, but more follows", ""},
		{formType, form("model", "a", "model", "b"), `"model" stands twice`, "model"},
		{formType, form("user", "a", "user", "b"), `"user" stands twice`, "user"},
		{formType, form("stream", "true", "stream", "false"), `"stream" stands twice`, "stream"},
		{formType, form("response_format", "text", "response_format", "verbose_json"), `"response_format" stands twice`, "response_format"},
		{formType, form("model", "m", "@file", "long", "@file", "short"), "two files", "file"},
		{formType, form("Model", "a"), `"model" must be written in lower case`, "model"},
		{formType, form("ſtream", "true"), `"stream" must be written in lower case`, "stream"},
		{formType, form("model ", "a"), `"model" must be written in lower case`, "model"},
		{formType, form("@model", "a"), `"model" must not be a file`, "model"},
		{formType, form("model", ""), "model is empty", "model"},
		{formType, form("model", "a\nb"), "model holds a control character", "model"},
		{formType, form("model", "a\u0085"), "model holds a control character", "model"},
		{formType, form("model", "a\xff"), "not valid UTF-8", "model"},
		{formType, form("model", strings.Repeat("m", 256)), "model is longer than 255 bytes", "model"},
		{formType, form("stream", "1"), "stream must be true or false", "stream"},
		{formType, form("n", "-1"), "n must be a whole number", "n"},
		{formType, form("x", "a--b0z", "model", "m"), "boundary stands within a part", ""},
		{formType, form("x", "a\n--b0\nContent-Disposition: form-data; name=\"model\"\n\nm"), "boundary stands within a part", ""},
		{formType, strings.Replace(form("x", "a", "model", "m"), "\r\n--b0\r\n", "\r\n--b0 \r\n", 1), "boundary stands within a part", ""},
		{formType, field("Content-Disposition: form-data; name=model; name=user", "m"), "needs one Content-Disposition", ""},
		{formType, field("Content-Disposition: form-data; name=user\r\nContent-Disposition: form-data; name=model", "m"), "needs one Content-Disposition", ""},
		{formType, field("Content-Disposition: form-data; name*=utf-8''model", "m"), "needs one Content-Disposition", ""},
		{formType, field("Content-Disposition: attachment; name=model", "m"), "needs one Content-Disposition", ""},
		{formType, field("Content-Disposition: form-data", "m"), "has no name", ""},
		{formType, field("Content-Type: text/plain", "m"), "has no name", ""},
		{formType, field("Content-Disposition: form-data;\r\n name=model", "m"), "malformed header", ""},
		{formType, field("Content-Disposition : form-data; name=model", "m"), "malformed header", ""},
		{formType, field("Content-Disposition: form-data; name=x\nContent-Disposition: form-data; name=model", "m"), "malformed header", ""},
		{formType, field("Content-Disposition: form-data; name=model\r\nContent-Transfer-Encoding: base64", "bQ=="), "Content-Transfer-Encoding", ""},
		{formType, field("Content-Disposition: form-data; name=model\r\nContent-Type: text/plain; charset=utf-16", "m"), "not in UTF-8", ""},
		{formType, field("Content-Disposition: form-data; name=x\r\nX-Long: "+strings.Repeat("x", maxPartHeader), "m"), "too long a header", ""},
		{formType, form(slices.Repeat([]string{"x", "y"}, maxParts+1)...), "more than 1000 parts", ""},
	} {
		for _, r := range []io.Reader{strings.NewReader(tt.text), iotest.OneByteReader(strings.NewReader(tt.text))} {
			_, err := ParseForm(r, tt.contentType, false, -1, 1<<20)
			var e *Error
			require.ErrorAs(t, err, &e, tt.text)
			require.Contains(t, e.Error(), tt.message, tt.text)
			require.Equal(t, tt.param, e.Param, tt.text)
		}
	}
	_, err := ParseForm(strings.NewReader(form("model", "m", "@file", strings.Repeat("x", 100))), formType, false, -1, 100)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = ParseForm(iotest.ErrReader(io.ErrUnexpectedEOF), formType, false, -1, 100)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// counting counts the bytes read.
type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// TestLargeForms checks that a file after the model's name is streamed and that a file before it is buffered.
func TestLargeForms(t *testing.T) {
	const size = 5 << 20
	file := strings.Repeat("0123456789abcdef", size/16)
	text := form("model", "whisper-1", "@file", file, "language", "en")
	src := &counting{Reader: strings.NewReader(text)}
	b, err := ParseForm(src, formType, false, int64(len(text)), 16<<20)
	require.NoError(t, err)
	require.Less(t, src.n, 2*heldForm, "no more is read than is held")
	p := b.Changed(Change{Model: "large"})
	require.False(t, p.Whole())
	require.False(t, p.Spent())
	require.Equal(t, int64(len(text)-len("whisper-1")+len("large")), p.Len())
	q := b.Changed(Change{Model: "larger"})
	_, err = io.Copy(io.Discard, p.Reader())
	require.ErrorIs(t, err, errNotItsTurn, "the rest goes to the payload that was made last")
	got, err := io.ReadAll(q.Reader())
	require.NoError(t, err)
	require.True(t, string(got) == strings.Replace(text, "whisper-1", "larger", 1))
	require.True(t, q.Spent())
	require.Nil(t, b.Fault())

	src = &counting{Reader: strings.NewReader(form("@file", file, "language", "en"))}
	b, err = ParseForm(src, formType, true, -1, 16<<20)
	require.NoError(t, err)
	require.Less(t, src.n, 2*heldForm, "the path names the model")
	got, err = io.ReadAll(b.Edited("m", false).Reader())
	require.NoError(t, err)
	require.True(t, string(got) == form("model", "m", "@file", file, "language", "en"), "the field is put in")

	src = &counting{Reader: strings.NewReader(form("@file", file, "model", "whisper-1"))}
	b, err = ParseForm(src, formType, false, -1, 16<<20)
	require.NoError(t, err)
	require.True(t, b.Edited("whisper-1", false).Whole(), "the model comes last: all of it had to be read")
	_, err = ParseForm(strings.NewReader(form("@file", file, "model", "whisper-1")), formType, false, -1, 2<<20)
	require.ErrorIs(t, err, ErrTooLarge)

	for want, late := range map[string]string{
		`"model" stands twice`:                      form("model", "m", "@file", file, "model", "n"),
		`"user" comes too late`:                     form("model", "m", "@file", file, "user", "u"),
		`"stream" comes too late`:                   form("model", "m", "@file", file, "stream", "true"),
		"breaks off":                                strings.TrimSuffix(form("model", "m", "@file", file), "--b0--\r\n"),
		"more follows":                              form("model", "m", "@file", file) + "x",
		"the form is too large":                     form("model", "m", "@file", file+file+file+file),
		`the field "user" must be written in lower`: form("model", "m", "@file", file, "USER", "u"),
	} {
		b, err := ParseForm(strings.NewReader(late), formType, false, -1, 16<<20)
		require.NoError(t, err)
		require.Equal(t, int64(-1), b.Edited("", false).Len(), "nobody said how long it is")
		_, err = io.Copy(io.Discard, b.Edited("", false).Reader())
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, b.Fault(), want)
	}
}

// FuzzForm compares the scanner with mime/multipart: forms that it accepts are read the same by both, however they are
// split.
func FuzzForm(f *testing.F) {
	f.Add([]byte(form("model", "m", "@file", "x")), 7)
	f.Add([]byte(form("@file", "--b0", "model", "m")), 1)
	f.Add([]byte("--b0\r\nContent-Disposition: form-data; name=model; filename=\"\"\r\n\r\n\r\n--b0--"), 3)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		b, err := ParseForm(bytes.NewReader(data), formType, false, -1, 1<<20)
		cut = min(max(cut, 0), len(data))
		again, errAgain := ParseForm(io.MultiReader(bytes.NewReader(data[:cut]), bytes.NewReader(data[cut:])), formType, false, -1, 1<<20)
		require.Equal(t, err == nil, errAgain == nil)
		if err != nil {
			return
		}
		require.Equal(t, b.ModelName, again.ModelName)
		require.Equal(t, b.Units, again.Units)
		require.True(t, bytes.Equal(data, b.Edited(b.BodyModel, false).Bytes()))
		_, params, err := mime.ParseMediaType(formType)
		require.NoError(t, err)
		r := multipart.NewReader(bytes.NewReader(data), params["boundary"])
		seen := ""
		for {
			p, err := r.NextRawPart()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if p.FormName() == "model" {
				require.Empty(t, seen)
				value, err := io.ReadAll(p)
				require.NoError(t, err)
				seen = string(value)
			}
		}
		require.Equal(t, seen, b.BodyModel)
	})
}

// TestUploadedAudioHasALength checks the length read from a file's header, also if the rest of the form is streamed.
func TestUploadedAudioHasALength(t *testing.T) {
	wav := func(seconds int) string {
		return "RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\xff\xff\xff\xff" +
			strings.Repeat("\x80", 8000*seconds)
	}
	for _, c := range []struct {
		file string
		want int64
	}{{wav(11), 11_000}, {wav(600), 600_000}, {"no sound", 0}} {
		b, err := ParseForm(strings.NewReader(form("model", "m", "@file", c.file)), formType, false, -1, 16<<20)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, b.Edited("m", false).Reader())
		require.NoError(t, err)
		require.Equal(t, c.want, b.Audio.Load())
	}
	b, err := ParseForm(strings.NewReader(form("model", "m", "@image", wav(3))), formType, false, -1, 16<<20)
	require.NoError(t, err)
	require.Zero(t, b.Audio.Load(), "only the file to be transcribed counts")
}
