package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// shown is what a db shows of the life behind it, as etcd's rules for compaction say, and nothing else: it shares no code with what
// it is held against.
type shown struct {
	revision, compact int64
	rows              map[int64]map[int64]shownRow // by main and sub revision
	tables            *schema.Tables
	leases, alarms    string
}

type shownRow struct {
	key                           string
	deleted                       bool
	create, mod, version, leaseID int64
	value                         string
}

func (d dump) shown(revision, compact int64) *shown {
	w := &shown{revision: revision, compact: compact, rows: map[int64]map[int64]shownRow{}, tables: d.tables()}
	for _, r := range d["key"] {
		rev, tombstone, _ := mvcc.ParseRevision(r.Key)
		var kv mvcc.KeyValue
		if err := kv.Decode(r.Value); err != nil {
			continue
		}
		x := shownRow{key: string(kv.Key), deleted: tombstone}
		if !tombstone {
			x.create, x.mod, x.version, x.leaseID, x.value = kv.Create, kv.Mod, kv.Version, kv.Lease, string(kv.Value)
		}
		if w.rows[rev.Main] == nil {
			w.rows[rev.Main] = map[int64]shownRow{}
		}
		w.rows[rev.Main][rev.Sub] = x
	}
	var leases, alarms []string
	for _, l := range w.tables.Leases {
		leases = append(leases, fmt.Sprintf("%x", uint64(l.ID)))
	}
	for _, a := range w.tables.Alarms {
		alarms = append(alarms, fmt.Sprintf("%x %s", a.Member, a.Type))
	}
	w.leases, w.alarms = list(leases), list(alarms)
	return w
}

func list(s []string) string { return strings.Join(slices.Sorted(slices.Values(s)), ",") }

// agrees tells whether the rows that were made as a revision may be behind what is shown.
func (w *shown) agrees(main int64, made map[int64]shownRow) bool {
	there := w.rows[main]
	switch {
	case main > w.revision:
		return false
	case main > w.compact:
		return maps.Equal(there, made)
	}
	for sub, r := range there {
		if made[sub] != r {
			return false
		}
	}
	return true
}

// against tells in what another db that holds all rows that were ever made, and was compacted alike, differs: empty if one life may
// be behind both. Rows of some revisions, and small tables, are not asked.
func (w *shown) against(all *shown, revisions map[int64]bool, tables map[string]bool) string {
	if w.revision != all.revision {
		return fmt.Sprintf("revision %d, not %d", all.revision, w.revision)
	}
	last := map[string]int64{}
	for _, main := range slices.Sorted(maps.Keys(all.rows)) {
		if !revisions[main] && !w.agrees(main, all.rows[main]) {
			return fmt.Sprintf("revision %d: %v, not %v", main, all.rows[main], w.rows[main])
		}
		for _, r := range all.rows[main] {
			if main <= w.compact {
				last[r.key] = main
			}
		}
	}
	for main := range w.rows {
		if all.rows[main] == nil && !revisions[main] {
			return fmt.Sprintf("revision %d was not made", main)
		}
	}
	newest := w.newest()
	for key, main := range last {
		if n, ok := newest[key]; ok && n < main && !revisions[main] && !revisions[n] {
			return fmt.Sprintf("compaction would not have left %q of revision %d", key, n)
		}
		if revisions[main] {
			continue
		}
		for sub, r := range all.rows[main] {
			if _, ok := w.rows[main][sub]; r.key == key && !r.deleted && !ok {
				return fmt.Sprintf("compaction would have left %q of revision %d", key, main)
			}
		}
	}
	switch {
	case !tables["lease"] && w.leases != all.leases:
		return "leases " + all.leases + ", not " + w.leases
	case !tables["alarm"] && w.alarms != all.alarms:
		return "alarms " + all.alarms + ", not " + w.alarms
	case !tables["auth"] && !authz.Of(w.tables).Equal(all.tables):
		return "another auth store"
	}
	return ""
}

// brute runs lives in memory against what is shown. That package apply does what etcd does is held by TestApply.
type brute struct {
	*shown
	l *apply.Log
	s *apply.State
}

// made tells whether what the state has just made agrees with what is shown.
func (b *brute) made() bool {
	rows := map[int64]shownRow{}
	for sub, c := range b.s.Changes {
		r := shownRow{key: b.l.Keys[c.Key], deleted: c.Delete}
		if x := &c.Record; !c.Delete {
			r.create, r.mod, r.version, r.leaseID, r.value = x.Create, x.Mod, x.Version, b.l.Leases[x.Lease], string(b.l.Bytes(x.Value))
		}
		rows[int64(sub)] = r
	}
	if !b.agrees(b.s.Revision, rows) {
		return false
	}
	return b.s.Revision != b.compact || b.survivors()
}

// survivors tells whether what is shown at and below the compact revision is what compaction leaves of the present state.
func (b *brute) survivors() bool {
	alive := map[string]int64{}
	for k := range b.l.Keys {
		if r := b.s.Record(int32(k)); r.Exists() {
			alive[b.l.Keys[k]] = r.Mod
		}
	}
	for key, main := range alive {
		found := false
		for _, r := range b.rows[main] {
			found = found || r.key == key && !r.deleted
		}
		if !found {
			return false
		}
	}
	// The newest row of any other key is a tombstone: compaction removes rows in order, also where it did not finish.
	for key, main := range b.newest() {
		if mod, ok := alive[key]; ok && mod != main || !ok && !b.gone(key, main) {
			return false
		}
	}
	return true
}

// newest is the main revision of each key's newest row at or below the compact revision.
func (w *shown) newest() map[string]int64 {
	m := map[string]int64{}
	for main, rows := range w.rows {
		for _, r := range rows {
			if main <= w.compact {
				m[r.key] = max(m[r.key], main)
			}
		}
	}
	return m
}

// gone tells whether the row of a key at a revision is a tombstone.
func (w *shown) gone(key string, main int64) bool {
	for _, r := range w.rows[main] {
		if r.key == key && r.deleted {
			return true
		}
	}
	return false
}

// step applies an entry, and tells whether that agrees with what is shown.
func (b *brute) step(i int) bool {
	return b.s.Apply(&b.l.Entries[i], apply.Plain) != apply.Made || b.made()
}

// from applies the entries from one place to another, and tells whether that leads to what is shown.
func (b *brute) from(i, end int) bool {
	for ; i < end; i++ {
		if !b.step(i) {
			return false
		}
	}
	return b.ended()
}

func (b *brute) ended() bool {
	var leases, alarms []string
	for n, id := range b.l.Leases {
		if b.s.Granted(int32(n)) {
			leases = append(leases, fmt.Sprintf("%x", uint64(id)))
		}
	}
	b.s.Alarms(func(member uint64, typ pb.AlarmType) { alarms = append(alarms, fmt.Sprintf("%x %s", member, typ)) })
	return b.s.Revision == b.revision && list(leases) == b.leases && list(alarms) == b.alarms && b.s.Auth.Equal(b.tables)
}

// effective tells whether an entry would change the present state.
func (b *brute) effective(i int) bool {
	m := b.s.Mark()
	b.s.Apply(&b.l.Entries[i], apply.Plain)
	changed := b.s.Mark() > m
	b.s.Revert(m)
	return changed
}

// run is entries from one to another.
type run struct{ first, last uint64 }

// holds tells whether another run is a part of it.
func (r run) holds(o run) bool { return r.first <= o.first && o.last <= r.last }

// single finds every run of entries, of those up to a place and no more than longest, of which leaving it out, and every one of which applying it again, leads
// to what is shown, which is what there is behind the place end. Runs of which a part leads to the same state are left out.
func (b *brute) single(upTo, longest, end int) (skips, replays []run) {
	left, again := map[uint64][]run{}, map[uint64][]run{} // by the state that they lead to
	var marks []apply.Mark
	agreed := end
	for i := range end {
		marks = append(marks, b.s.Mark())
		if !b.step(i) {
			agreed = i
			break
		}
	}
	marks = append(marks, b.s.Mark())
	note := func(leads map[uint64][]run, first, last int) {
		at, r := b.s.Digest(), run{b.l.Entries[first].Index, b.l.Entries[last].Index}
		if !slices.ContainsFunc(leads[at], r.holds) {
			leads[at] = append(slices.DeleteFunc(leads[at], func(o run) bool { return o.holds(r) }), r)
		}
	}
	for i := min(agreed, upTo-1); i >= 0; i-- {
		for k := i; k >= 0 && i-k < longest && i < agreed; k-- {
			b.s.Revert(marks[i+1])
			if b.again(k, i, marks[i+1] > marks[i]) && b.from(i+1, end) {
				note(again, k, i)
			}
		}
		b.s.Revert(marks[i])
		for z := i; z < upTo && z-i < longest && b.effective(i); z++ {
			if b.effective(z) && b.from(z+1, end) {
				note(left, i, z)
			}
			b.s.Revert(marks[i])
		}
	}
	b.s.Revert(0)
	return slices.Concat(slices.Collect(maps.Values(left))...), slices.Concat(slices.Collect(maps.Values(again))...)
}

// again applies entries again, and tells whether that agrees with what is shown, makes a revision, and cannot be told as a shorter run:
// the first one has an effect, and the last one, too, or had one at first.
func (b *brute) again(k, i int, had bool) bool {
	revision := b.s.Revision
	for j := k; j <= i; j++ {
		m := b.s.Mark()
		if !b.step(j) || b.s.Mark() == m && (j == k || j == i && !had) {
			return false
		}
	}
	return b.s.Revision > revision
}
