package bugs

import (
	"slices"
	"strings"
	"testing"

	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/finding"
)

// withFile gives members the file that commands name.
func withFile(m *Member) {
	m.DB.File = &evidence.File{Name: "member/snap/db", Origin: "/evidence/" + m.Label + "/member/snap/db"}
}

func TestPlan(t *testing.T) {
	c := crashed(t).run(spec{label: "a", member: withFile}, spec{label: "b", member: withFile}, spec{label: "c", rules: rules(replay.Omit(6)), member: withFile})
	p := c.Plan(Differences{Keys: []Key{{Name: "/k/lost", Present: []bool{true, true, false}}}})
	if p == nil || p.Best != "a" || !slices.Equal(p.Rebuild, []string{"c"}) {
		t.Fatalf("%+v", p)
	}
	if k := p.Copies[2]; !slices.Equal(k.Loses, []uint64{6}) || !slices.Equal(k.LostKeys, []string{"/k/lost"}) {
		t.Errorf("c: %+v", k)
	}
	if k := p.Copies[0]; len(k.Loses) > 0 || !slices.Equal(k.Adds, []uint64{6}) || !slices.Equal(k.Resurrected, []string{"/k/lost"}) {
		t.Errorf("a: %+v", k)
	}
	if !slices.ContainsFunc(p.Doubts, func(s string) bool { return strings.HasPrefix(s, "b would do") }) {
		t.Errorf("that b would do as well is not said: %q", p.Doubts)
	}
	if !slices.Contains(p.Commands, "etcdctl member remove c0c0000000000003") {
		t.Errorf("commands: %q", p.Commands)
	}

	// A copy that is not sound is no choice, and without a majority that is said.
	c = crashed(t).run(spec{label: "a", member: withFile}, spec{label: "c", rules: rules(replay.Omit(6)), member: withFile})
	p = c.Plan(Differences{})
	if p.Best != "a" || !slices.ContainsFunc(p.Doubts, func(s string) bool { return strings.Contains(s, "no majority") }) {
		t.Errorf("a tie: %+v", p)
	}
	if !slices.ContainsFunc(p.Commands, func(s string) bool {
		return strings.HasPrefix(s, "etcdutl snapshot restore /evidence/a/member/snap/db ") && strings.Contains(s, "--bump-revision 1000000000 --mark-compacted")
	}) {
		t.Errorf("commands: %q", p.Commands)
	}
	c.Members[0].findings = []finding.Finding{finding.New("page-zero", finding.Error, "member/snap/db", "planted")}
	if p = c.Plan(Differences{}); p.Best != "c" {
		t.Errorf("a is damaged, and %q is recommended", p.Best)
	}

	healthy := crashed(t).run(spec{label: "a", member: withFile}, spec{label: "b", member: withFile})
	if p := healthy.Plan(Differences{}); p != nil {
		t.Errorf("nothing is wrong: %+v", p)
	}

	// What a copy did against its own log counts against it, though no other one shows it.
	healthy.Causes = []*Cause{{Layer: "apply", Index: 6, Departed: []int{0}, Groups: [][]int{{0}}}}
	if p := healthy.Plan(Differences{}); p == nil || p.Best != "b" || !slices.Equal(p.Rebuild, []string{"a"}) {
		t.Errorf("a contradicts its own log: %+v", p)
	}
}

// TestNoBase: what cannot be run again is consistent at most, and says why.
func TestNoBase(t *testing.T) {
	s := newSim(t)
	leaseRevokes(s, "", true)
	c := s.run(spec{label: "a", rules: rules(replay.RevokeUnasked()), tables: old}, spec{label: "b", rules: rules(replay.RevokeUnasked()), tables: old}, spec{label: "c", tables: old})
	for _, m := range c.Members {
		m.DB.Tables.ScheduledCompact = m.DB.Revision()
	}
	c.Cause = c.Causes[0]
	o := leaseRevokeUnasked(c)
	if o.Status != Consistent || !slices.ContainsFunc(o.Evidence, func(s string) bool { return strings.Contains(s, "no base to re-execute from") }) {
		t.Errorf("%q: %q", o.Status, o.Evidence)
	}
}
