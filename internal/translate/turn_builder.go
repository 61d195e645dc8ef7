package translate

import "strconv"

// turnBuilder makes turns of a conversation in its order: all that the model said up to the next turn of another is one turn, and the
// outputs of its calls follow it in the order of the calls.
type turnBuilder struct {
	turns []turn
	// waits is the calls that have no output yet, by id: the places of their outputs among the turns and their parts.
	waits map[string][2]int
}

// assistant returns the model's turn that is open.
func (b *turnBuilder) assistant(at place) *turn {
	if n := len(b.turns); n == 0 || b.turns[n-1].role != roleAssistant {
		b.turns = append(b.turns, turn{role: roleAssistant, at: at.path})
	}
	return &b.turns[len(b.turns)-1]
}

// say adds a turn that is not the model's.
func (b *turnBuilder) say(t turn) error {
	err := b.closeTurn()
	b.turns = append(b.turns, t)
	return err
}

// closeTurn ends the model's turn that is open, if there is one. Outputs of its calls get their places.
func (b *turnBuilder) closeTurn() error {
	n := len(b.turns)
	if n == 0 || b.turns[n-1].role != roleAssistant {
		return nil
	}
	var calls []part
	for _, p := range b.turns[n-1].parts {
		if p.kind != partCall {
			continue
		}
		if _, there := b.waits[p.id]; there {
			return invalid(p.at, "has the id of another call without an output: %s", strconv.Quote(p.id))
		}
		if b.waits == nil {
			b.waits = make(map[string][2]int)
		}
		b.waits[p.id] = [2]int{n, len(calls)}
		calls = append(calls, part{kind: partCall, id: p.id, at: p.at})
	}
	if len(calls) > 0 {
		b.turns = append(b.turns, turn{role: roleOutputs, parts: calls, at: b.turns[n-1].at})
	}
	return nil
}

// answer puts the output of a call in its place. at is that of the call's id.
func (b *turnBuilder) answer(at place, output part) error {
	if err := b.closeTurn(); err != nil {
		return err
	}
	to, ok := b.waits[output.id]
	if !ok {
		return invalid(at.path, "is not that of a call without an output: %s", strconv.Quote(output.id))
	}
	b.turns[to[0]].parts[to[1]] = output
	delete(b.waits, output.id)
	return nil
}

// end ends the conversation.
func (b *turnBuilder) end() error {
	if err := b.closeTurn(); err != nil || len(b.waits) == 0 {
		return err
	}
	first := [2]int{len(b.turns), 0}
	for _, w := range b.waits {
		if w[0] < first[0] || w[0] == first[0] && w[1] < first[1] {
			first = w
		}
	}
	call := b.turns[first[0]].parts[first[1]]
	return invalid(call.at, "has no output: the call %s needs one", strconv.Quote(call.id))
}
