package preflight

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/inspecttest"
)

// asked is a release, and what is wanted of it.
type asked struct {
	to   string
	want []string
}

// caseOf reads a case: members by name, and releases.
func caseOf(text string) (members map[string]string, all []asked) {
	members = map[string]string{}
	var name string
	for line := range strings.Lines(text) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "member":
			name = rest
		case "to":
			all = append(all, asked{to: rest})
		case "->":
			all[len(all)-1].want = append(all[len(all)-1].want, rest)
		default:
			members[name] += line
		}
	}
	return members, all
}

// TestStarts asks what becomes of a start on the members of testdata/starts.txtar.
func TestStarts(t *testing.T) {
	t.Parallel()
	file, err := txtar.ParseFile("testdata/starts.txtar")
	if err != nil || len(file.Files) < 10 {
		t.Fatalf("%d cases: %v", len(file.Files), err)
	}
	for _, c := range file.Files {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			members, all := caseOf(string(c.Data))
			var args []string
			for name, lines := range members {
				args = append(args, name+"="+inspecttest.Dir(t, lines))
			}
			set, err := inspect.Open(t.Context(), args, inspect.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			for _, a := range all {
				d, err := Run(set.Members, a.to)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(a.want, told(t, d)); diff != "" {
					t.Errorf("to %s (-want +got):\n%s", a.to, diff)
				}
			}
		})
	}
}

// told is an answer in lines. What makes it is worth no more than what is said of it: the worst is the outcome.
func told(t *testing.T, d *Document) (lines []string) {
	t.Helper()
	worst := Starts
	for _, m := range d.Members {
		for _, r := range m.Releases {
			line := fmt.Sprintf("%s: %s %s", m.Member, r.Releases, r.Outcome)
			var codes []string
			of := Starts
			for _, why := range r.Reasons {
				codes, of = append(codes, why.Code), worse(of, why.Outcome)
				if why.What == "" || why.Detail == "" || why.Count < 1 {
					t.Errorf("%s: nothing is said of it: %+v", why.Code, why)
				}
			}
			if len(codes) > 0 {
				line += ": " + strings.Join(codes, ", ")
			}
			if of != r.Outcome {
				t.Errorf("%s: the worst of its reasons is %s", line, of)
			}
			lines, worst = append(lines, line), worse(worst, r.Outcome)
		}
	}
	if worst != d.Outcome {
		t.Errorf("the worst is %s, said is %s", worst, d.Outcome)
	}
	return lines
}

// TestParse tells which releases may be asked about.
func TestParse(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]string{
		"3.6": "3.6.0 line", "3.6.4": "3.6.4", "3.2": "3.2.0 line", "3.7.99": "3.7.99",
		"": "none", "3": "none", "3.1": "none", "3.8": "none", "2.3": "none", "4.0": "none", "v3.6": "none", "3.6.4-rc.0": "none", "3.6.4+git": "none", "3.6.4.1": "none", "3.x": "none",
	} {
		got := "none"
		if v, line, err := Parse(to); err == nil {
			if got = v.String(); line {
				got += " line"
			}
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", to)) {
			t.Errorf("%q: %v", to, err)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", to, got, want)
		}
	}
	if _, err := Run(nil, "3.1"); err == nil {
		t.Error("3.1 is judged")
	}
}

// TestLinesAgree asserts that what is said of a line is what is said of each of its releases.
func TestLinesAgree(t *testing.T) {
	t.Parallel()
	set, err := inspect.Open(t.Context(), []string{"a=" + inspecttest.Dir(t, `
rev 2 a=1 c2 v1
row meta consistent_index be(4)
row meta term be(9)
node 1
entry 1 term 1 add 1 http://a:2380
entry 2 term 2 put a 1
idle 3..4 term 2
commit 4 term 2
file member/snap/db.tmp.123 abc
`)}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	seen := map[Outcome]bool{}
	for _, minor := range []int{4, 5, 6} {
		d, err := Run(set.Members, fmt.Sprintf("3.%d", minor))
		if err != nil {
			t.Fatal(err)
		}
		ranges, at := d.Members[0].Releases, -1
		for _, patch := range []int{0, 2, 3, 4, 5, 50} {
			release := fmt.Sprintf("3.%d.%d", minor, patch)
			if i := slices.IndexFunc(ranges, func(r Release) bool { return strings.HasPrefix(r.Releases+" ", release+" ") }); i >= 0 {
				at = i
			} else if at < 0 {
				at = 0 // every one of the line
			}
			one, err := Run(set.Members, release)
			if err != nil {
				t.Fatal(err)
			}
			if one.Outcome != ranges[at].Outcome {
				t.Errorf("%s %s, of its line is said: %s %s", release, one.Outcome, ranges[at].Releases, ranges[at].Outcome)
			}
			seen[one.Outcome] = true
		}
	}
	if !seen[Harms] || !seen[Starts] {
		t.Errorf("outcomes %v: nothing is compared", seen)
	}
}
