package translate

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// write writes the turns of a conversation.
func (b *messagesBody) write(turns []turn) error {
	for i, t := range turns {
		var err error
		switch t.role {
		case roleSystem:
			err = b.systemTurn(turns, i)
		case roleUser:
			err = b.userTurn(t)
		case roleAssistant:
			err = b.assistantTurn(t)
		case roleOutputs:
			for _, p := range t.parts {
				if err = b.result(p); err != nil {
					break
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// systemTurn writes a system message: into `system` where nothing is before it, else in its place. To move it to the front would change
// all that is before the thinking that was signed behind it.
func (b *messagesBody) systemTurn(turns []turn, i int) error {
	t := turns[i]
	if b.role == "" {
		b.into(&b.system)
		return b.parts(t)
	}
	follows := roleAssistant
	for _, after := range turns[i+1:] {
		if after.role != roleSystem {
			follows = after.role
			break
		}
	}
	role := "system"
	switch {
	case !b.model.lateSystem:
		role = "user"
		if err := b.t.refuse(t.at, "is a system message inside the conversation, which the model does not take"); err != nil {
			return err
		}
	case b.role == "assistant" || follows != roleAssistant:
		role = "user"
		if err := b.t.refuse(t.at, "is a system message that is not between one of the user's and one of the assistant's, where Messages takes it"); err != nil {
			return err
		}
	}
	// With `translate lossy` its text stays in its place, and its role is what is lost.
	if err := b.turn(role, t.at); err != nil {
		return err
	}
	return b.parts(t)
}

func (b *messagesBody) userTurn(t turn) error {
	if err := b.turn("user", t.at); err != nil {
		return err
	}
	before := len(b.messages)
	if err := b.parts(t); err != nil {
		return err
	}
	if len(b.messages) == before {
		return invalid(t.at, "has no text but white space, and Messages takes no empty message")
	}
	return nil
}

func (b *messagesBody) assistantTurn(t turn) error {
	if err := b.turn("assistant", t.at); err != nil {
		return err
	}
	before := len(b.messages)
	if err := b.parts(t); err != nil {
		return err
	}
	if len(b.messages) == before {
		b.t.drop(t.at)
	}
	return nil
}

func (b *messagesBody) parts(t turn) error {
	for _, p := range t.parts {
		if err := b.part(p); err != nil {
			return err
		}
	}
	return nil
}

func (b *messagesBody) part(p part) error {
	switch p.kind {
	case partText, partRefusal:
		return b.text(p)
	case partImage:
		return b.image(p)
	case partFile:
		return b.file(p)
	case partThinking:
		return b.think(p)
	case partCall:
		return b.call(p)
	case partOutput:
		return b.result(p)
	}
	return nil
}

// text writes a block of text. Messages refuses those without any: they are left out.
func (b *messagesBody) text(p part) error {
	if blank(p.text) {
		if p.text != `""` {
			b.t.drop(p.at)
		}
		return nil
	}
	b.begin(`{"type":"text","text":`)
	b.add(p.text)
	return b.endPart(p)
}

// blank reports whether a JSON string is of white space.
func blank(quoted string) bool {
	for i := 1; i < len(quoted)-1; i++ {
		switch quoted[i] {
		case ' ':
		case '\\':
			i++
			switch quoted[i] {
			case 'n', 'r', 't', 'f':
			case 'u': // or a space that is escaped without need
				return strings.TrimSpace(gjson.Parse(quoted).Str) == ""
			default:
				return false
			}
		default:
			return quoted[i] >= utf8.RuneSelf && strings.TrimSpace(gjson.Parse(quoted).Str) == ""
		}
	}
	return true
}

// endPart ends the block of a part with its mark of the cache.
func (b *messagesBody) endPart(p part) error {
	cache := p.cache
	if p.breakpoint != "" {
		if cache != "" {
			return invalid(p.at, "has both cache_control and prompt_cache_breakpoint")
		}
		if cache = `{"type":"ephemeral","ttl":"1h"}`; b.model.shortCache {
			cache = `{"type":"ephemeral"}`
		}
	}
	b.end(cache)
	return nil
}

// image writes an image.
func (b *messagesBody) image(p part) error {
	source := gjson.Parse(p.url).Str
	media, data, isData := dataURL(source)
	switch {
	case isData:
		if media == "image/jpg" {
			media = "image/jpeg"
		}
		switch media {
		case "image/jpeg", "image/png", "image/gif", "image/webp":
		default:
			return b.t.refuse(p.at, "is of the type %q, and Messages takes JPEG, PNG, GIF and WebP", media)
		}
		if data == "" {
			return invalid(p.at, "is a data: URL without base64")
		}
		b.begin(`{"type":"image","source":{"type":"base64","media_type":"`)
		b.add(media, `","data":"`, data, `"}`)
	case strings.HasPrefix(source, "https://"):
		if ok, err := b.links(p); !ok {
			return err
		}
		b.begin(`{"type":"image","source":{"type":"url","url":`)
		b.add(p.url, `}`)
	default:
		return b.t.refuse(p.at, "is at a URL that is neither https: nor data:")
	}
	return b.endPart(p)
}

// links reports whether the provider fetches what a URL names.
func (b *messagesBody) links(p part) (bool, error) {
	switch b.t.Provider {
	case bedrock, vertex:
		return false, b.t.refuse(p.at, "is at a URL, and %s takes base64 only", b.t.Provider)
	}
	return true, nil
}

// file writes a document.
func (b *messagesBody) file(p part) error {
	source := gjson.Parse(p.url).Str
	media, data, isData := dataURL(source)
	switch {
	case isData && media == "application/pdf":
		if data == "" {
			return invalid(p.at, "is a data: URL without base64")
		}
		b.begin(`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"`)
		b.add(data, `"}`)
	case isData && media == "text/plain":
		text, err := base64.StdEncoding.DecodeString(data)
		if err != nil || !utf8.Valid(text) {
			return invalid(p.at, "is no base64 of UTF-8 text")
		}
		b.begin(`{"type":"document","source":{"type":"text","media_type":"text/plain","data":`)
		*b.out = appendString(*b.out, string(text))
		b.add(`}`)
	case isData:
		return b.t.refuse(p.at, "is of the type %q, and Messages takes PDF and plain text", media)
	case strings.HasPrefix(source, "https://"):
		if ok, err := b.links(p); !ok {
			return err
		}
		b.begin(`{"type":"document","source":{"type":"url","url":`)
		b.add(p.url, `}`)
	default:
		return b.t.refuse(p.at, "is neither a data: nor an https: URL")
	}
	if p.title != "" {
		b.add(`,"title":`, p.title)
	}
	return b.endPart(p)
}

// dataURL parts a data: URL with base64. data is empty where that is not base64.
func dataURL(url string) (media, data string, ok bool) {
	if len(url) < 5 || !strings.EqualFold(url[:5], "data:") {
		return "", "", false
	}
	head, data, _ := strings.Cut(url[5:], ",")
	media, more, _ := strings.Cut(head, ";")
	if i := strings.LastIndexByte(more, ';'); !strings.EqualFold(more[i+1:], "base64") {
		return strings.ToLower(media), "", true
	}
	for i := range len(data) {
		switch c := data[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '=':
		default:
			return strings.ToLower(media), "", true
		}
	}
	return strings.ToLower(media), data, true
}
