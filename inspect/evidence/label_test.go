package evidence

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLabels(t *testing.T) {
	tests := []struct {
		name  string
		paths []string // "label=" before a path makes the label explicit
		want  []string
	}{
		{"single archive", []string{"/x/a.tar.gz"}, []string{"a"}},
		{"single generic path", []string{"/var/lib/etcd"}, []string{"etcd"}},
		{"single default.etcd", []string{"/default.etcd"}, []string{"default.etcd"}},
		{"single below generic names", []string{"/m1/var/lib/etcd"}, []string{"m1"}},
		{"root", []string{"/"}, []string{"member"}},
		{"archives", []string{"/x/a.tar.gz", "/x/b.tgz", "/x/c.tar.zst", "/x/d.db.gz"}, []string{"a", "b", "c", "d"}},
		{"member folders", []string{"/x/node1/member", "/x/node2/member"}, []string{"node1", "node2"}},
		{"data dirs of hosts", []string{"/m1/var/lib/etcd", "/m2/var/lib/etcd"}, []string{"m1", "m2"}},
		{"generic names that tell apart", []string{"/x/data", "/x/etcd"}, []string{"data", "etcd"}},
		{"db files", []string{"/x/n1/member/snap/db", "/x/n2/member/snap/db"}, []string{"n1", "n2"}},
		{"same snapshot name", []string{"/x/n1/backup.db", "/x/n2/backup.db"}, []string{"n1", "n2"}},
		{"mixed", []string{"/x/a.tar.gz", "/y/b/member"}, []string{"a", "b"}},
		{"mixed depths", []string{"/m1/var/lib/etcd", "/m2/var/lib/etcd", "/x/c.tar.gz"}, []string{"m1", "m2", "c"}},
		{"joined", []string{"/x/dc1/node1", "/x/dc1/node2", "/x/dc2/node1"}, []string{"dc1/node1", "node2", "dc2/node1"}},
		{"swapped elements", []string{"/x/a/b", "/x/b/a"}, []string{"b", "a"}},
		{"swapped elements above", []string{"/a/b/n", "/b/a/n", "/o"}, []string{"b/n", "a/n", "o"}},
		{"same path twice", []string{"/x/a", "/x/a"}, []string{"a", "a#2"}},
		{"same path twice and another", []string{"/x/a", "/x/a", "/y/a"}, []string{"x", "x#2", "y"}},
		{"explicit", []string{"one=/x/a", "/x/b"}, []string{"one", "b"}},
		{"explicit takes a name", []string{"b=/x/a", "/x/b"}, []string{"b", "x/b"}},
		{"explicit takes a name without parents", []string{"b=/x/a", "/b"}, []string{"b", "b#2"}},
		{"not printable", []string{"/x/a\x1b b", "/x/c"}, []string{"a__b", "c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 5 {
				var members []*Member
				for _, p := range tt.paths {
					label, path, ok := strings.Cut(p, "=")
					if !ok {
						label, path = "", p
					}
					members = append(members, &Member{Label: label, Origin: path, elems: fileElems(path)})
				}
				mixed := append([]*Member(nil), members...)
				rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
				labelMembers(mixed)
				byPath := map[string]map[string]bool{} // equal paths share their labels in any order
				var want []map[string]bool
				for i, m := range members {
					if byPath[m.Origin] == nil {
						byPath[m.Origin] = map[string]bool{}
					}
					byPath[m.Origin][m.Label] = true
					want = append(want, map[string]bool{tt.want[i]: true})
					for j := range tt.paths {
						if tt.paths[j] == tt.paths[i] {
							want[i][tt.want[j]] = true
						}
					}
				}
				for i, m := range members {
					if d := cmp.Diff(want[i], byPath[m.Origin]); d != "" {
						t.Errorf("%s (-want +got):\n%s", tt.paths[i], d)
					}
				}
			}
		})
	}
}

func TestStem(t *testing.T) {
	for name, want := range map[string]string{
		"a.tar.gz": "a", "a.tgz": "a", "a.tar.zst": "a", "a.tar": "a", "backup.db.gz": "backup", "a.db": "a",
		"db": "db", ".db": ".db", ".tar.gz": ".tar", "v3.5.tar.gz": "v3.5", "a": "a",
	} {
		if got := stem(name); got != want {
			t.Errorf("stem(%q) = %q, want %q", name, got, want)
		}
	}
}
