package diff

import (
	"fmt"
	"testing"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/faults"
)

// TestRan asserts which versions may have applied an entry by what a log tells of processes.
func TestRan(t *testing.T) {
	t.Parallel()
	first := ServerRun{Version: "3.2.24", Begins: true, Stopped: true}
	upgraded := []ServerRun{first, {Version: "3.3.10", Begins: true, Commit: 74, Stopped: true}}
	killed := []ServerRun{{Version: "3.2.24", Begins: true}, upgraded[1]}
	again := append(upgraded[:2:2], ServerRun{Version: "3.4.3", Begins: true, Commit: 200})
	for _, test := range []struct {
		name  string
		runs  []ServerRun
		entry uint64
		want  string
	}{
		{"before", upgraded, 71, "[3.2.24]"},
		{"the last one that the first saved as committed", upgraded, 74, "[3.2.24]"},
		{"behind", upgraded, 75, "[3.2.24 3.3.10]"}, // the first may have come further than it saved
		{"killed, and applied again", killed, 71, "[3.2.24 3.3.10]"},
		{"the one before", again, 201, "[3.3.10 3.4.3]"},
		{"between", again, 150, "[3.2.24 3.3.10]"},
		{"the log begins later", []ServerRun{{Version: "3.2.24"}, upgraded[1]}, 71, "[]"},
		{"it begins with a restart", upgraded[1:], 71, "[]"},
		{"nor is known what was before that", upgraded[1:], 75, "[]"},
		{"no version", []ServerRun{{Begins: true}}, 5, "[]"},
		{"no log", nil, 5, "[]"},
	} {
		l := runHistory{runs: test.runs}
		if got := fmt.Sprint(l.versionsFor(test.entry)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	l := runHistory{runs: upgraded}
	if !l.denies(71, apply.Rules33) || l.denies(71, apply.Rules32) || l.denies(90, apply.Rules33) || l.denies(90, apply.Rules32) || !l.denies(90, apply.Rules3510) {
		t.Error("what it denies is not what the versions say")
	}
	if got, want := l.String(), "3.2.24; 3.3.10 behind entry 74"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestPossible asserts that a log narrows only what the files leave open: where it denies what was chosen nothing is left out.
func TestPossible(t *testing.T) {
	t.Parallel()
	at := func(entry uint64) faults.Fault {
		return faults.Fault{Kind: faults.Rules, First: entry, Last: entry, To: apply.Rules33}
	}
	l := runHistory{runs: []ServerRun{{Version: "3.2.24", Begins: true, Stopped: true}, {Version: "3.3.10", Begins: true, Commit: 74}}}
	if some, out := l.possible([]faults.Fault{at(90), at(71), at(107)}); len(some) != 2 || len(out) != 1 || out[0].First != 71 {
		t.Errorf("%v, and not %v", some, out)
	}
	if some, out := l.possible([]faults.Fault{at(71), at(90)}); len(some) != 2 || len(out) > 0 {
		t.Errorf("%v, and not %v", some, out)
	}
	if some, _ := l.possible([]faults.Fault{{Kind: faults.Skipped, First: 90, Last: 90}, at(71)}); len(some) != 2 {
		t.Errorf("of other faults %v", some)
	}
}

// TestOnly asserts that a log speaks for the whole life of a member only if it has all of it, with versions of the same rules.
func TestOnly(t *testing.T) {
	t.Parallel()
	rules := []apply.Rules{apply.Rules3510, apply.Rules33, apply.Rules32}
	for version, want := range map[string]string{"3.2.24": "3.2 true", "3.3.10": "3.3 to 3.5.9 true", "3.5.12": "3.5.10 (or 3.4.27) and later true", "3.1.0": " false", "x": " false"} {
		l := runHistory{runs: []ServerRun{{Version: version, Begins: true}, {Version: version, Begins: true, Commit: 9}}}
		only, _, ok := l.onlyRules(rules)
		got := fmt.Sprintf(" %v", ok)
		if ok {
			got = only.String() + got
		}
		if got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
		for k := range l.runs {
			part := runHistory{runs: []ServerRun{l.runs[k], {Version: "3.4.3", Commit: 12}}}
			if part.runs[0].Begins = k == 0; version == "3.2.24" {
				if _, _, ok := part.onlyRules(rules); ok {
					t.Errorf("%v speaks for a whole life", part.runs)
				}
			}
		}
	}
}
