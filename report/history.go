package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"

	"etcd-autopsy/diff"
)

// HistoryOptions choose how much of a biography is shown to people. JSON has all of it.
type HistoryOptions struct {
	All bool // every event; otherwise many that are alike are summed up
}

const (
	aroundShown = 4  // events kept at the ends, and around what differs
	eventsShown = 30 // of one key, above which some are left out
	whyShown    = 10 // notes below one key
)

// History writes the biography of keys.
func History(w io.Writer, b *diff.Biography, o HistoryOptions, format Format) error {
	switch format {
	case JSON, Fields:
		return encode(w, format, b, nil, nil)
	}
	h := historian{s: newStream(w, format), b: b, o: o}
	if format != Simple && format != Table && format != Markdown {
		return fmt.Errorf("unknown output format %q", format)
	}
	h.members()
	if b.Lease != nil {
		h.lease(b.Lease)
	}
	for i := range b.Keys {
		h.key(&b.Keys[i])
	}
	if len(b.Keys) == 0 && (b.Lease == nil || len(b.Lease.Events) == 0) {
		h.s.remark("neither a db nor a log of these members has it")
	}
	for _, f := range b.Faults {
		h.s.lacks("the effects", []string{f})
	}
	return h.s.end()
}

type historian struct {
	s *stream
	b *diff.Biography
	o HistoryOptions
}

// members says how far each member's files reach, so that a silence is not taken for an answer.
func (h *historian) members() {
	for i := range h.b.Members {
		m := &h.b.Members[i]
		text := m.Label + ": no db that can be read"
		if m.Readable {
			text = fmt.Sprintf("%s: revision %d", m.Label, m.Revision)
			if m.CompactRevision > 0 {
				text += fmt.Sprintf(", compacted at %d", m.CompactRevision)
			}
			text += fmt.Sprintf(", at entry %d", m.ConsistentIndex)
		}
		text += "; log " + span(m.FirstIndex, m.LastIndex)
		if !m.Complete {
			text += "; not all of it could be read"
		}
		h.s.remark(text)
	}
}

// columns are members whose cells are the same throughout, side by side.
func (h *historian) columns(events []diff.KeyEvent) [][]string {
	var cols [][]string
	for i := range h.b.Members {
		label := h.b.Members[i].Label
		k := slices.IndexFunc(cols, func(c []string) bool {
			return h.s.format != Simple && !slices.ContainsFunc(events, func(e diff.KeyEvent) bool { return cell(&e, c[0]) != cell(&e, label) })
		})
		if k < 0 {
			cols = append(cols, []string{label})
		} else {
			cols[k] = append(cols[k], label)
		}
	}
	return cols
}

// on is what an event did on a member, nil if it is not known to it.
func on(e *diff.KeyEvent, member string) *diff.KeyOn {
	for i := range e.On {
		if slices.Contains(e.On[i].Members, member) {
			return &e.On[i]
		}
	}
	return nil
}

func cell(e *diff.KeyEvent, member string) string {
	o := on(e, member)
	switch {
	case o == nil && e.Entry != nil:
		return "not in its log"
	case o == nil:
		return "-"
	case len(o.Rows) == 0:
		if o.Effect == diff.Unknown {
			return "no longer known"
		}
		return effectText(o.Effect, nil)
	}
	var parts []string
	for _, r := range o.Rows {
		s := fmt.Sprintf("%d %s", r.Revision, r.Op)
		if r.Op == "put" && r.Version == 1 {
			s += " v1"
		} else if r.Op == "put" {
			s += fmt.Sprintf(" v%d of %d", r.Version, r.Create)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

// request is what an event's entry asks, short enough for a table: the key is known.
func request(e *diff.KeyEvent) string {
	if e.Entry == nil {
		if e.NoEntry {
			return "NO ENTRY made this"
		}
		return "(before the log)"
	}
	switch {
	case e.Entry.Type == "Put" && e.Asks != "":
		s := strings.TrimPrefix(e.Asks, "put")
		return "Put" + s
	case e.Asks != "":
		return e.Entry.Type + ": " + e.Asks
	}
	return e.Entry.Summary
}

func (h *historian) key(k *diff.KeyLife) {
	h.title(k)
	h.events(k.Key.String(), k.Events)
}

func (h *historian) title(k *diff.KeyLife) {
	h.s.title(k.Key.String())
	now := map[string][]string{}
	var order []string
	for i := range h.b.Members {
		label := h.b.Members[i].Label
		st, ok := k.Now[label]
		text := "?"
		switch {
		case ok && st.Present:
			text = fmt.Sprintf("revision %d, created %d, version %d, %s, sha256 %.12s..", st.ModRevision, st.CreateRevision, st.Version, count(st.ValueSize, "byte"), st.ValueSHA256)
			if st.Lease != 0 {
				text += ", lease " + st.Lease.String()
			}
		case ok:
			text = "not there"
		}
		if now[text] == nil {
			order = append(order, text)
		}
		now[text] = append(now[text], label)
	}
	for _, text := range order {
		h.s.remark("now on " + list(now[text]) + ": " + text)
	}
	if k.Parted != nil {
		e := &k.Events[*k.Parted]
		where := "at a revision that no entry made"
		if e.Entry != nil {
			where = fmt.Sprintf("at entry %d", e.Entry.Index)
		}
		n := 0
		for i := range k.Events {
			if k.Events[i].Differs {
				n++
			}
		}
		h.s.remark(fmt.Sprintf("PARTED %s (! below; %s in all)", where, count(n, "time")))
	}
}

// events writes one table. A line of simple format begins with what it is of, and has a cell for every member.
func (h *historian) events(of string, events []diff.KeyEvent) {
	cols := h.columns(events)
	heads := []column{{" ", 1, false}, {"ENTRY", 8, true}, {"TERM", 4, true}}
	req, user, from := len("REQUEST"), len("USER"), len("FROM")
	for i := range events {
		req = max(req, runewidth.StringWidth(request(&events[i])))
		if e := events[i].Entry; e != nil {
			user = max(user, runewidth.StringWidth(diff.Key(e.User).String()))
			from = max(from, runewidth.StringWidth(e.Proposer))
		}
	}
	heads = append(heads, column{"REQUEST", min(req, 40), false}, column{"USER", min(user, 16), false}, column{"FROM", from, false})
	for _, c := range cols {
		name := strings.Join(c, ", ")
		width := runewidth.StringWidth(name)
		for i := range events {
			width = max(width, runewidth.StringWidth(cell(&events[i], c[0])))
		}
		heads = append(heads, column{name, width, false})
	}
	h.s.head("", heads...)
	show := h.shown(events)
	hidden := 0
	skip := func() {
		if hidden > 0 {
			h.s.note(2, fmt.Sprintf("... %s without a difference between members: --all", count(hidden, "event")))
			hidden = 0
		}
	}
	for i := range events {
		e := &events[i]
		if !show[i] {
			hidden++
			continue
		}
		skip()
		mark, index, term, who, by := " ", "-", "-", "-", "-"
		if e.Differs {
			mark = "!"
		}
		if e.Entry != nil {
			index, term, who = strconv.FormatUint(e.Entry.Index, 10), strconv.FormatUint(e.Entry.Term, 10), orNone(diff.Key(e.Entry.User).String())
			by = orNone(e.Entry.Proposer)
		}
		cells := []string{mark, index, term, request(e), who, by}
		for _, c := range cols {
			cells = append(cells, cell(e, c[0]))
		}
		if h.s.format == Simple {
			cells = append([]string{of}, cells...)
		}
		h.s.row(nil, cells)
	}
	skip()
	notes := 0
	for i := range events {
		for _, o := range events[i].On {
			if e := &events[i]; o.Why != "" && e.Entry != nil && show[i] {
				if notes++; notes > whyShown && !h.o.All {
					continue
				}
				if notes == 1 {
					h.s.blank()
				}
				h.s.remark(fmt.Sprintf("%d: %s: %s", e.Entry.Index, strings.Join(o.Members, ", "), said(&o)))
			}
		}
	}
	if notes > whyShown && !h.o.All {
		h.s.remark(count(notes-whyShown, "more note") + ": --all")
	}
}

// said is why an event did what it did on some members.
func said(o *diff.KeyOn) string {
	if o.Effect != diff.None {
		return o.Why
	}
	return effectText(o.Effect, nil) + ": " + o.Why
}

// shown tells which of many events are worth their line: the first and last ones, those that differ, and their neighbours.
func (h *historian) shown(events []diff.KeyEvent) []bool {
	show := make([]bool, len(events))
	all := h.o.All || len(events) <= eventsShown || h.s.format == Simple
	for i := range events {
		near := false
		for k := max(0, i-1); k <= min(len(events)-1, i+1); k++ {
			near = near || events[k].Differs
		}
		show[i] = all || near || i < aroundShown || i >= len(events)-aroundShown
	}
	return show
}

func (h *historian) lease(l *diff.LeaseLife) {
	h.s.title("lease " + l.ID.String())
	for i := range h.b.Members {
		label := h.b.Members[i].Label
		if st, ok := l.Now[label]; ok {
			text := "not there"
			if st.Present {
				text = fmt.Sprintf("TTL %d s, remaining TTL %d s, on %s", st.TTL, st.RemainingTTL, count(st.Keys, "key"))
			}
			h.s.remark("now on " + label + ": " + text)
		}
	}
	h.events("lease "+l.ID.String(), l.Events)
}
