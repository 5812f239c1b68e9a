package values

import (
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/kube"
	"etcd-autopsy/inspect/mvcc"
)

// Stored is an object with the key that it is stored under.
type Stored struct {
	Key    string
	Object map[string]any // all of it, secrets, too
}

// Namespace is what a member holds of a namespace of Kubernetes.
type Namespace struct {
	Label    string
	Revision int64 // as of which it is
	// Objects are sorted by key, the namespace itself first if it is there.
	Objects []Stored
	// Owned is how many of them have owners, by their unique ids.
	Owned int
	// LeftOut are the keys of the namespace whose values are no objects that can be decoded, by the reason.
	LeftOut map[string]int
	// Doubts say in a clause each why more or other objects may have been there.
	Doubts []string
	// Others are names of namespaces that keys are in if there is nothing of this one, sorted.
	Others []string

	salvaged int
}

// GetNamespace reads the objects of a namespace as of a revision, 0 for the last. An object is of the namespace if its key and its metadata say so.
func GetNamespace(m *inspect.Member, namespace string, at int64) (*Namespace, error) {
	if m.DB == nil || !m.DB.HasKeys && m.DB.Rows.Len() == 0 {
		return nil, fmt.Errorf("%s has no db that can be read", m.Label)
	}
	last := m.DB.Revision()
	if at > last {
		return nil, fmt.Errorf("%s is at revision %d, and has not come to revision %d", m.Label, last, at)
	}
	if at == 0 {
		at = last
	}
	n := &Namespace{Label: m.Label, Revision: at, LeftOut: map[string]int{}}
	t := m.DB.Rows
	others := map[string]bool{}
	for _, r := range t.Latest(t.Lower(at + 1)) {
		key := r.Key()
		self := kube.IsNamespace(key, namespace)
		if r.Tombstone || r.Bump() {
			continue
		}
		if !self && !kube.Within(key, namespace) {
			if x, ok := kube.NameOf(key); ok && x.Namespace != "" && kube.Printable(x.Namespace) {
				others[x.Namespace] = true
			}
			continue
		}
		n.add(&r, namespace, self)
	}
	slices.SortFunc(n.Objects, func(a, b Stored) int {
		if x, y := kube.IsNamespace([]byte(a.Key), namespace), kube.IsNamespace([]byte(b.Key), namespace); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Key, b.Key)
	})
	if len(n.Objects) == 0 {
		for name := range others {
			n.Others = append(n.Others, name)
		}
		slices.Sort(n.Others)
	}
	if slices.ContainsFunc(t.Holes(), func(h mvcc.Hole) bool { return h.First.Main <= at }) {
		n.Doubts = append(n.Doubts, "rows that could not be read may hold more objects, or later ones")
	}
	if n.salvaged > 0 {
		n.Doubts = append(n.Doubts, fmt.Sprintf("%d of the rows are from pages to which nothing refers, and may be old ones", n.salvaged))
	}
	if e := m.Evidence(); !e.Whole() {
		n.Doubts = append(n.Doubts, fmt.Sprintf("the copy is %s: %s", e.Standing(), e.Why()))
	}
	if c := m.DB.CompactRevision(); at < c {
		n.Doubts = append(n.Doubts, fmt.Sprintf("compacted since, up to revision %d: what was deleted or written again from revision %d to that is missing", c, at+1))
	}
	return n, nil
}

// add takes the object of a row, or counts why there is none.
func (n *Namespace) add(r *mvcc.Row, namespace string, self bool) {
	var kv mvcc.KeyValue
	if kv.Decode(r.Value) != nil {
		n.LeftOut["its row does not decode"]++
		return
	}
	o := kube.Decode(kv.Key, kv.Value, true)
	meta, _ := o.Fields["metadata"].(map[string]any)
	switch {
	case o.Fields == nil && o.Note != "":
		n.LeftOut[o.Note]++
	case o.Fields == nil || o.Kind == "" || o.APIVersion == "" || meta == nil:
		n.LeftOut[fmt.Sprintf("%s, and no object of Kubernetes", o.Encoding)]++
	case self && o.Kind == "Namespace" && meta["name"] == namespace, meta["namespace"] == namespace:
		n.Objects = append(n.Objects, Stored{string(kv.Key), o.Fields})
		if r.Salvaged {
			n.salvaged++
		}
		if owners, _ := meta["ownerReferences"].([]any); len(owners) > 0 {
			n.Owned++
		}
	}
}
