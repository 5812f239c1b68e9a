package recovery

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// finish completes a state that was verified: leaves out entries, gives users their passwords, and says what is lost.
func (p *planner) finish(ctx context.Context, x *made, v *verdict) (source, error) {
	d := newDocument()
	if skip := p.q.Without; len(skip) > 0 {
		y, err := x.base.run(ctx, replay.Between(p.log, x.st.Index+1, x.index), p.m, x.rules, skip, p.q)
		if err != nil {
			return nil, err
		}
		d.Without = skip
		d.Changed = otherwise(x, y)
		d.ChangedCount = len(d.Changed)
		d.Changed = d.Changed[:min(len(d.Changed), MaxChanged)]
		d.note("this is no state that the cluster ever had: without %s, %s otherwise", entries(skip), plural(d.ChangedCount, "key is", "keys are"))
		for i := range v.proof {
			v.proof[i] = "with them: " + v.proof[i]
		}
		d.prove("without %s, %s run by etcd's own applier (%s); no copy holds that, to compare it with", entries(skip), plural(y.entries, "entry was", "entries were"), y.res.Rules)
		x = y
	}
	x.m = p.m
	if e := diff.EntryAt(p.log, x.index); e != nil {
		x.term = e.Term
	} else if x.of != nil {
		x.term = x.of.DB.Tables.Term
	}
	x.version = p.version(x)
	unknown, err := x.passwords(p.log)
	if err != nil {
		return nil, err
	}
	d.From, d.Base, d.Run = p.m.Label, x.what, x.entries
	d.Proof, d.Proven = slices.Concat(d.Proof, v.proof), v.proven
	if d.Proven && v.from > 1 {
		d.ProvenFrom = v.from
	}
	d.Notes = slices.Concat(p.notes, d.Notes, v.notes, x.res.Notes)
	if n := len(unknown); n > 0 {
		d.lost("the %s of %s: no file that was read holds them", verb(n, "password", "passwords"), some(quoted(unknown)))
	}
	if n := x.st.TTLs; n > 0 {
		d.lost("the TTL of %s, granted before all that is left of the log: they are given an hour", plural(n, "lease", "leases"))
	}
	if x.of != nil && x.st.Compact > 0 {
		if c := x.res.Final.Compact; c == x.st.Compact && c > p.compactedAt(x.index) {
			d.note("%s was compacted at revision %d: the history before it is gone, no key that existed is", x.of.Label, c)
		}
	}
	d.note("members are not in it: etcdutl snapshot restore makes them anew")
	d.old(x.version)
	d.close()
	x.doc = d
	return x, nil
}

// version is the cluster version when an entry had been applied, empty if not known.
func (p *planner) version(x *made) string {
	b := &replay.Base{Tables: &schema.Tables{}, Log: p.log}
	if x.of != nil {
		b.Tables = x.of.DB.Tables
	}
	return b.VersionAt(x.index)
}

// compactedAt is the last revision that the log up to an entry asks to compact.
func (p *planner) compactedAt(index uint64) (rev int64) {
	for i := range p.log {
		if p.log[i].Index > index {
			break
		}
		if c := p.log[i].Request().Internal.GetCompaction(); c != nil {
			rev = max(rev, c.Revision)
		}
	}
	return rev
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// quoted are names as other output has them.
func quoted(names []string) (out []string) {
	for _, n := range names {
		out = append(out, diff.NameOf(n).Called())
	}
	return out
}

func entries(indexes []uint64) string {
	var words []string
	for _, x := range indexes {
		words = append(words, strconv.FormatUint(x, 10))
	}
	return verb(len(words), "entry ", "entries ") + some(words)
}

// otherwise lists the keys that are not in two states as they are in the other, made from one base, sorted by key.
func otherwise(with, without *made) (all []Changed) {
	a, b := with.ends(), without.ends()
	names := map[string]bool{}
	for k := range a {
		names[k] = true
	}
	for k := range b {
		names[k] = true
	}
	for k := range names {
		was, is := with.at(k, a), without.at(k, b)
		switch {
		case was == nil && is == nil:
		case was == nil:
			all = append(all, changed(k, "kept"))
		case is == nil:
			all = append(all, changed(k, "gone"))
		case string(was.Value) != string(is.Value) || was.Lease != is.Lease:
			all = append(all, changed(k, "otherwise"))
		}
	}
	slices.SortFunc(all, func(x, y Changed) int { return strings.Compare(x.Key+x.KeyBase64, y.Key+y.KeyBase64) })
	return all
}

// at is a key in the end, of which ends knows what entries made of it; nil if it does not exist.
func (x *made) at(key string, ends map[string]*mvcc.KeyValue) *mvcc.KeyValue {
	if kv, written := ends[key]; written {
		return kv
	}
	return x.before(key)
}

// ends are the keys that entries have written, in the end; nil for those that they have deleted.
func (x *made) ends() map[string]*mvcc.KeyValue {
	out := map[string]*mvcc.KeyValue{}
	for i := range x.changes {
		kv := &mvcc.KeyValue{}
		if x.changes[i].Tombstone {
			kv = nil
		} else if kv.Decode(x.changes[i].Value) != nil {
			continue
		}
		out[string(x.changes[i].Key())] = kv
	}
	return out
}

// before is a key as it was in the base, nil if it did not exist.
func (b *base) before(key string) *mvcc.KeyValue {
	if b.table == nil {
		return nil
	}
	i, end := b.table.LastOf([]byte(key)), b.end()
	for i >= end {
		i = b.table.Previous(i)
	}
	if i < 0 {
		return nil
	}
	r := b.table.Row(i)
	kv := &mvcc.KeyValue{}
	if r.Tombstone || kv.Decode(r.Value) != nil {
		return nil
	}
	return kv
}
