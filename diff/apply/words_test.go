package apply

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"etcd-autopsy/inspect/inspecttest"
	"etcd-autopsy/inspect/raftlog"
)

// line is one of a case: a request in words, and what is wanted of it.
type line struct {
	words, want string
}

// casesOf are those of a file, by name.
func casesOf(t *testing.T, path string) map[string][]line {
	t.Helper()
	file, err := txtar.ParseFile(path)
	if err != nil || len(file.Files) == 0 {
		t.Fatalf("%d cases: %v", len(file.Files), err)
	}
	all := map[string][]line{}
	for _, c := range file.Files {
		for l := range strings.Lines(string(c.Data)) {
			if words, want, _ := strings.Cut(l, "=>"); strings.TrimSpace(words) != "" {
				all[c.Name] = append(all[c.Name], line{strings.TrimSpace(words), strings.TrimSpace(want)})
			}
		}
	}
	return all
}

// requestOf reads such as "as ann@8 put a 1 lease=7".
func requestOf(t *testing.T, words string) *raftlog.Request {
	t.Helper()
	in := inspecttest.Request(t, words)
	r := &raftlog.Request{Internal: in, User: in.GetHeader().GetUsername(), AuthRevision: in.GetHeader().GetAuthRevision()}
	in.Header = nil
	return r
}

// ready is a log of such requests. keys are known besides.
func ready(rs []*raftlog.Request, keys ...string) *Log {
	return NewLog(len(rs), func(i int) uint64 { return uint64(i + 1) }, func(i int) *raftlog.Request { return rs[i] }, keys, nil)
}

// TestWords applies the cases of testdata/apply.txtar, and takes them back.
func TestWords(t *testing.T) {
	t.Parallel()
	for name, lines := range casesOf(t, "testdata/apply.txtar") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var rs []*raftlog.Request
			for _, l := range lines {
				if !strings.HasPrefix(l.words, "rules ") {
					_, words, way := strings.Cut(l.words, ": ")
					if !way {
						words = l.words
					}
					rs = append(rs, requestOf(t, words))
				}
			}
			s := New(ready(rs))
			start, i := s.Digest(), 0
			for _, l := range lines {
				if name, ok := strings.CutPrefix(l.words, "rules "); ok {
					s.Rules = map[string]Rules{"3.2": Rules32, "3.3": Rules33, "3.5.10": Rules3512, "3.5.28": Rules3528, "3.5.30": Rules37 | Rules3530, "3.6": Rules3530}[name]
					continue
				}
				e, way := &s.Log.Entries[i], Plain
				i++
				switch {
				case strings.HasPrefix(l.words, "otherwise: "):
					way = OtherBranch
				case strings.HasPrefix(l.words, "unchecked: "):
					way = Unchecked
				case strings.HasPrefix(l.words, "its own: "):
					way = WithReads
				}
				mark, before := s.Mark(), s.Digest()
				got := changes(s, s.Apply(e, way))
				if got != l.want {
					t.Errorf("%s\n\t%s\n\twant %s", l.words, got, l.want)
				}
				after := s.Digest()
				if s.Revert(mark); s.Digest() != before {
					t.Errorf("%s: cannot be taken back", l.words)
				}
				if again := changes(s, s.Apply(e, way)); again != got || s.Digest() != after {
					t.Errorf("%s: done again, it does %s after %s", l.words, again, got)
				}
			}
			s.Rules = 0
			if s.Revert(0); s.Digest() != start {
				t.Error("taking all back does not lead to the beginning")
			}
		})
	}
}

// TestToldInWords tells what the entries of testdata/told.txtar may do.
func TestToldInWords(t *testing.T) {
	t.Parallel()
	for name, lines := range casesOf(t, "testdata/told.txtar") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, l := range lines {
				log := ready([]*raftlog.Request{requestOf(t, l.words)}, "a", "b", "c", "d")
				if got := told(log, &log.Entries[0]); got != l.want {
					t.Errorf("%s\n\t%s\n\twant %s", l.words, got, l.want)
				}
			}
		})
	}
}

// told is what an entry tells before it is applied.
func told(l *Log, e *Entry) string {
	span := func(lo, hi int32) string {
		switch {
		case lo >= hi:
			return "none"
		case hi-lo == 1:
			return l.Keys[lo]
		}
		return l.Keys[lo] + ".." + l.Keys[hi-1]
	}
	var asks, puts, removes []string
	e.Asks(func(lo, hi int32, h Hint) {
		asks = append(asks, span(lo, hi)+[]string{"?", " exists", " absent"}[h])
	})
	e.Puts(func(key int32, _ Value, keeps bool) {
		puts = append(puts, l.Keys[key]+map[bool]string{true: "="}[keeps])
	})
	e.MayRemove(func(lo, hi int32) { removes = append(removes, span(lo, hi)) })
	least, most := e.Range()
	out := []string{strconv.Itoa(least) + " to " + strconv.Itoa(most)}
	for _, x := range []struct {
		verb  string
		words []string
		sep   string
	}{{"asks ", asks, ", "}, {"puts ", puts, " "}, {"removes ", removes, " "}} {
		if len(x.words) > 0 {
			out = append(out, x.verb+strings.Join(x.words, x.sep))
		}
	}
	return strings.Join(slices.Clip(out), "; ")
}
