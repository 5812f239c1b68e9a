package diff

import (
	"strings"
	"testing"
)

func TestFiltered(t *testing.T) {
	t.Parallel()
	d := &Document{Verdict: Diverged, Counts: Counts{KeysDiffering: 4}}
	d.Keys = NewKeyDiffs(KeyDiff{Key: "/a/1"}, KeyDiff{Key: "/a/2"}, KeyDiff{Key: "/b/1"}, KeyDiff{Key: "/c"})
	a, none := Key("/a/"), Key("/none/")
	for _, test := range []struct {
		f             KeyFilter
		want          string
		left, outside int
		ignored       []int
	}{
		{KeyFilter{}, "/a/1 /a/2 /b/1 /c", 0, 0, nil},
		{KeyFilter{Prefix: &a}, "/a/1 /a/2", 2, 2, nil},
		{KeyFilter{Prefix: &none}, "", 4, 4, nil},
		{KeyFilter{Ignore: []Key{"/a/", "/b/"}}, "/c", 3, 0, []int{2, 1}},
		{KeyFilter{Prefix: &a, Ignore: []Key{"/a/2"}}, "/a/1", 3, 2, []int{1}},
	} {
		got := d.Filtered(test.f)
		var keys []string
		for k := range got.Keys.All() {
			keys = append(keys, string(k.Key))
		}
		if s := strings.Join(keys, " "); s != test.want || got.Keys.Len() != len(keys) {
			t.Errorf("%+v: %s, want %s", test.f, s, test.want)
		}
		if got.Verdict != Diverged || got.Counts.KeysDiffering != 4 || d.Keys.Len() != 4 {
			t.Errorf("%+v: more changed than the list", test.f)
		}
		if l := got.LeftOut; l == nil {
			if test.left > 0 {
				t.Errorf("%+v: nothing is said", test.f)
			}
		} else {
			if l.Keys != test.left || l.Outside != test.outside || len(l.Ignored) != len(test.ignored) {
				t.Errorf("%+v: %+v", test.f, l)
			}
			for i, n := range test.ignored {
				if l.Ignored[i].Keys != n {
					t.Errorf("%+v: %+v", test.f, l)
				}
			}
		}
	}
}
