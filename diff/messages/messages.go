// Package messages knows what etcd, raft, bbolt and the Go runtime say when something is wrong with etcd's data, and what that means.
//
// Each message has the wordings that releases gave it: one of capnslog's text up to 3.4, and one of zap's since, mostly differ. A wording is
// the whole message, or what follows ": " in one; nothing is matched in the middle of other words.
package messages

import (
	_ "embed"
	"fmt"
	"sync"

	"sigs.k8s.io/yaml"

	"etcd-autopsy/diff/bugs"
	"etcd-autopsy/inspect/wording"
)

// Message is something that a server says, in all its wordings.
type Message struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Meaning string `json:"meaning"`
	// Look is where in the data directories the trace is, and what of this program shows it. Do is what to do.
	Look string `json:"look"`
	Do   string `json:"do"`
	// Bug is the id of a known bug that leads to it, empty if there is none.
	Bug string `json:"bug"`
	// Refs are numbers of issues and pull requests, as bugs.Refs takes them.
	Refs     string     `json:"refs"`
	Wordings []*Wording `json:"wordings"`
	// Unprovoked says why the tests have no line of a real server with it, empty if they have.
	Unprovoked string `json:"unprovoked"`
}

// Wording is a message as some releases write it.
type Wording struct {
	// Text has {n} for a number, {x} for one in base 16 and {} for any text.
	Text string `json:"text"`
	// Frames are parts of function names, one of which has to be in the trace that follows. None if the text says enough.
	Frames []string `json:"frames"`
	// Sources are each a repository, a file in it, and the releases of it in which the file has the message.
	Sources []string `json:"sources"`

	pattern wording.Pattern
	of      *Message
}

//go:embed messages.yaml
var table []byte

var load = sync.OnceValue(func() []*Message {
	var all []*Message
	if err := yaml.UnmarshalStrict(table, &all); err != nil {
		panic(fmt.Sprintf("messages.yaml: %v", err)) // part of the program, and tested
	}
	for _, m := range all {
		for _, w := range m.Wordings {
			w.pattern, w.of = wording.Compile(w.Text), m
		}
	}
	return all
})

// All returns the table, in its order.
func All() []*Message { return load() }

// Links are the addresses of what the message refers to.
func (m *Message) Links() []string { return bugs.Refs(m.Refs) }
