package body

// tokenUnits is the size of one token id, in thousandths of a token.
const tokenUnits = 1000

// prompts parses a list of prompts: texts, lists of token ids, or the token ids of a single prompt. Each id counts as one
// token.
func (p *parser) prompts(depth int) (n int64, err error) {
	ids := int64(0)
	err = p.elements(depth, func(depth int) error {
		switch p.peek() {
		case '[':
			n++
			return p.elements(depth, func(depth int) error { return p.promptPart(depth, &ids) })
		case '"':
			n++
		}
		return p.promptPart(depth, &ids)
	})
	p.body.Units += ids * tokenUnits
	return max(n, min(ids, 1)), err
}

func (p *parser) promptPart(depth int, ids *int64) error {
	if c := p.peek(); '0' <= c && c <= '9' {
		*ids++
	}
	return p.value(depth)
}
