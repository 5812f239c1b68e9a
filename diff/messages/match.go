package messages

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"etcd-autopsy/inspect/serverlog"
)

// Hit is a message that a log has, once or more.
type Hit struct {
	Message  *Message
	Wordings []*Wording // those that were seen
	Count    int        // lines
	// First and Last are lines of the log, from 1. The times are zero if they are not known.
	First, Last     int64
	Began, Ended    time.Time
	Level           serverlog.Level // of the first one, panic where the Go runtime printed it
	Text            string          // of the first one: what fits the wording, and no more
	nested, stopped bool
}

// Stopped tells whether a process ended with it.
func (h *Hit) Stopped() bool { return h.stopped }

const (
	maxText  = 400 // bytes of a text that are shown
	maxTails = 16  // places behind ": " that are looked at, in one text
	maxDepth = 3   // errors in errors
	maxTrace = 400 // lines of a trace that may name a function
)

// index finds the wordings that can fit a text by its first bytes.
type index struct {
	by   map[[4]byte][]*Wording
	rest []*Wording // those that begin with a place
}

var indexed = sync.OnceValue(func() *index {
	x := &index{by: map[[4]byte][]*Wording{}}
	for _, m := range All() {
		for _, w := range m.Wordings {
			if l := w.pattern.Prefix(); len(l) >= 4 {
				k := [4]byte([]byte(l[:4]))
				x.by[k] = append(x.by[k], w)
			} else {
				x.rest = append(x.rest, w)
			}
		}
	}
	return x
})

// Scan reads a log to its end, and returns the messages that are in it: those first with which a process ended, then in the order of the log.
// It stops early when ctx is done.
func Scan(ctx context.Context, r *serverlog.Reader) ([]*Hit, error) {
	s := &scan{hits: map[string]*Hit{}, index: indexed()}
	for n := 0; r.Next(); n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.record(r.Record())
	}
	var out []*Hit
	for _, h := range s.hits {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b *Hit) int {
		return cmp.Or(-compare(a.stopped, b.stopped), cmp.Compare(a.First, b.First), compare(a.nested, b.nested), cmp.Compare(a.Message.ID, b.Message.ID))
	})
	return out, r.Err()
}

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// scan is the state between lines.
type scan struct {
	index *index
	hits  map[string]*Hit

	// waiting are wordings that fit a panic, if the trace below it has one of their frames.
	waiting  []waiting
	trace    int // lines of it
	routines int
}

type waiting struct {
	w   *Wording
	hit Hit
}

func (s *scan) record(r *serverlog.Record) {
	message := []byte(r.Message())
	if r.Level == "" {
		s.plain(r, message)
		return
	}
	s.waiting = s.waiting[:0]
	s.text(r, message, r.Level, 0)
	for _, f := range r.Fields() {
		switch f.Name() {
		case "error", "err", "panic":
			s.text(r, []byte(f.Text()), r.Level, 1)
		}
	}
}

// plain looks at what is no line of a logger: panics and traces of the runtime, or a message that stands for itself.
func (s *scan) plain(r *serverlog.Record, message []byte) {
	message = bytes.TrimSpace(message)
	switch {
	case bytes.HasPrefix(message, []byte("goroutine ")):
		if s.routines++; s.routines > 1 { // only that which died tells why
			s.waiting = s.waiting[:0]
		}
		return
	case bytes.HasPrefix(message, []byte("panic: ")), bytes.HasPrefix(message, []byte("fatal error: ")), bytes.HasPrefix(message, []byte("[signal ")),
		bytes.HasPrefix(message, []byte("unexpected fault address ")):
		s.trace, s.routines = 0, 0
		message = bytes.TrimSuffix(message, []byte(" [recovered]"))
		s.text(r, message, serverlog.Panic, 0)
		return
	}
	if s.trace++; s.trace > maxTrace {
		s.waiting = s.waiting[:0]
	}
	for i := range s.waiting {
		if w := &s.waiting[i]; slices.ContainsFunc(w.w.Frames, func(f string) bool { return bytes.Contains(message, []byte(f)) }) {
			s.add(w.w, w.hit)
			s.waiting = s.waiting[:0]
			return
		}
	}
	s.text(r, message, "", 0)
}

// text looks for wordings in a text, and in what follows ": " in it.
func (s *scan) text(r *serverlog.Record, text []byte, level serverlog.Level, depth int) {
	for range maxTails {
		s.whole(r, text, level, depth)
		i := bytes.Index(text, []byte(": "))
		if i < 0 {
			return
		}
		text = text[i+2:]
	}
}

// whole looks for wordings that a text is.
func (s *scan) whole(r *serverlog.Record, text []byte, level serverlog.Level, depth int) {
	if len(text) < 4 {
		return
	}
	s.try(r, s.index.by[[4]byte(text)], text, level, depth)
	s.try(r, s.index.rest, text, level, depth)
}

func (s *scan) try(r *serverlog.Record, wordings []*Wording, text []byte, level serverlog.Level, depth int) {
	for _, w := range wordings {
		places, ok := w.pattern.Match(text)
		if !ok {
			continue
		}
		h := Hit{
			First: r.Line, Began: r.Time, Level: level, Text: clip(text), nested: depth > 0,
			stopped: level == serverlog.Panic || level == serverlog.Fatal,
		}
		if len(w.Frames) > 0 {
			s.waiting = append(s.waiting, waiting{w, h})
			continue
		}
		s.add(w, h)
		if depth < maxDepth {
			for i, p := range places {
				if w.pattern.Free(i) {
					s.text(r, p, level, depth+1)
				}
			}
		}
	}
}

func clip(text []byte) string {
	if len(text) > maxText {
		return strings.ToValidUTF8(string(text[:maxText]), "") + "..."
	}
	return string(text)
}

// add counts a message once for each line.
func (s *scan) add(w *Wording, h Hit) {
	known := s.hits[w.of.ID]
	if known == nil {
		known = &h
		known.Message, known.Last = w.of, -1
		s.hits[w.of.ID] = known
	}
	if known.Last != h.First {
		known.Count++
	}
	known.Last, known.Ended = h.First, h.Began
	known.stopped = known.stopped || h.stopped
	if !slices.Contains(known.Wordings, w) {
		known.Wordings = append(known.Wordings, w)
	}
}
