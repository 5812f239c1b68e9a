package diff

import (
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/raftlog"
)

// minRule is how many entries a rule must explain. Fewer may be a coincidence.
const minRule = 3

// rule is a kind of entries that some members treat differently from others.
type rule struct {
	name string
	hits func(r *raftlog.Request) bool
	// byAuthRevision is true for entries with an old auth revision, whoever sent them.
	byAuthRevision bool
}

// says tells what became of the entries that a rule covers, of some in a row if it is nil.
func (r *rule) says(entries int, where string) string {
	if r == nil {
		return fmt.Sprintf("%d entries in a row had no effect on %s", entries, where)
	}
	return fmt.Sprintf("all %d %s that would change a key had no effect on %s", entries, r.name, where)
}

// rulesFor are the kinds that could have made entry r depart, the narrowest first.
func rulesFor(r *raftlog.Request, highest uint64) []rule {
	who := "without user"
	if r.User != "" {
		who = fmt.Sprintf("of user %q", r.User)
	}
	rules := []rule{{
		name: fmt.Sprintf("%s entries %s", r.Type, who),
		hits: func(o *raftlog.Request) bool { return o.Type == r.Type && o.User == r.User },
	}}
	if r.User != "" {
		rules = append(rules, rule{
			name: fmt.Sprintf("entries %s", who),
			hits: func(o *raftlog.Request) bool { return o.User == r.User },
		}, rule{
			name:           fmt.Sprintf("entries with auth revision %d or lower", highest),
			hits:           func(o *raftlog.Request) bool { return o.User != "" && o.AuthRevision <= highest },
			byAuthRevision: true,
		})
	}
	return rules
}

// extent tells how many of these causes, which look alike, are one: a run of entries one after the other, or all
// entries of one kind. At least one.
func (c *comparison) extent(like []*cause) int {
	k := like[0]
	odd := k.odd[0]
	if k.again {
		return c.replayExtent(odd, like)
	}
	if k.outcome != align.Refused && k.outcome != align.Permitted || len(like) < 2 {
		return 1
	}
	departs := map[uint64]int{}
	var highest uint64
	for n, x := range like {
		departs[x.index] = n
		if r := c.request(odd, x.index); r != nil {
			highest = max(highest, r.AuthRevision)
		}
	}
	first := c.request(odd, k.index)
	if first == nil {
		return 1
	}
	best := 1
	for _, r := range rulesFor(first, highest) {
		if n := c.ruleExtent(odd, k.index, departs, r); n >= minRule && n > best {
			best, k.rule = n, &r
			k.what = r.says(n, c.without(k))
		}
	}
	// A row of entries says more than their kind, unless they have a user in common.
	if n := c.runExtent(odd, k.index, departs); n > best || n == best && n > 1 && first.User == "" {
		best, k.rule = n, nil
		k.what = k.rule.says(n, c.without(k))
	}
	return best
}

// without names the members on which the entries of a cause had no effect.
func (c *comparison) without(k *cause) string {
	var ls []string
	for _, g := range k.groups {
		for _, i := range g {
			if slices.Contains(k.odd, i) == (k.outcome == align.Refused) {
				ls = append(ls, c.ms[i].Label)
			}
		}
	}
	slices.Sort(ls)
	return strings.Join(ls, ", ")
}

// ruleExtent counts how many departures in a row belong to the rule: it ends at the first entry that the rule covers and
// that had its effect, or that departs without being covered.
func (c *comparison) ruleExtent(member int, from uint64, departs map[uint64]int, r rule) int {
	n := 0
	done := false
	c.traces[member].steps(func(s *align.Step) {
		if done || s.Again || s.Index < from || s.Revision == 0 && s.Outcome != align.Refused {
			return
		}
		req := c.request(member, s.Index)
		if req == nil {
			return
		}
		_, departed := departs[s.Index]
		switch covered := r.hits(req); {
		case covered && departed:
			n++
		case covered && (s.Outcome == align.Refused || s.Outcome == align.Permitted):
			// The same on all members: another rule forbids or allows it everywhere.
		case covered != departed:
			done = true
		}
	})
	return n
}

// runExtent counts departures with nothing between them that had an effect.
func (c *comparison) runExtent(member int, from uint64, departs map[uint64]int) int {
	n := 0
	done := false
	c.traces[member].steps(func(s *align.Step) {
		if done || s.Index < from || s.Again {
			return
		}
		if _, departed := departs[s.Index]; departed {
			n++
		} else if s.Revision > 0 {
			done = true
		}
	})
	return n
}

// replayExtent counts how many entries a member applied again before it went on with new ones.
func (c *comparison) replayExtent(member int, like []*cause) int {
	n := 0
	begun, done := false, false
	c.traces[member].steps(func(s *align.Step) {
		switch {
		case done || s.Revision == 0:
		case n < len(like) && s.Again && s.Index == like[n].index:
			n++
			begun = true
		default:
			done = begun && !s.Again
		}
	})
	return max(n, 1)
}

// request is the entry as member i applied it, nil if nobody has it.
func (c *comparison) request(i int, index uint64) *raftlog.Request {
	if e := find(c.views[i].entries, index); e != nil {
		return e.Request()
	}
	return nil
}
