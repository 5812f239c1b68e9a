package raftlog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/nest"
)

// Snap is a .snap file.
type Snap struct {
	Name        string
	Index, Term uint64
	ConfState   ConfState
	CRC         uint32 // as stored
	CRCOK       bool
	// Store is the v2 store as JSON, a part of the source. From etcd 3.6 on it is made from the v3 store.
	Store    []byte
	Findings []finding.Finding
}

// ReadSnap reads a .snap file. The error, if any, is a *CorruptError. If only the checksum is wrong, what the file says
// is returned with it, as far as it decodes.
func ReadSnap(src Source) (*Snap, error) {
	corrupt := func(code string, off int, format string, args ...any) error {
		return &CorruptError{Code: code, File: src.Name, Offset: int64(off), What: fmt.Sprintf(format, args...)}
	}
	if len(src.Data) == 0 {
		return nil, corrupt("snap-empty", 0, "the file is empty")
	}
	s := &Snap{Name: src.Name}
	var data []byte
	start := 0
	c := cursor{b: src.Data}
	for c.next() {
		switch c.num {
		case 1:
			s.CRC = c.uint32()
		case 2:
			data = c.bytes()
			start = len(src.Data) - len(c.b) - len(data)
		default:
			c.skip() // as etcd does
		}
	}
	switch {
	case c.bad:
		return nil, corrupt("snap-malformed", 0, "not a snapshot, or cut off")
	case len(data) == 0 || s.CRC == 0:
		return nil, corrupt("snap-empty", 0, "no snapshot in the file")
	}
	sum := crc32.Checksum(data, castagnoli)
	s.CRCOK = sum == s.CRC

	c = cursor{b: data}
	for c.next() {
		switch c.num {
		case 1:
			s.Store = c.bytes()
		case 2:
			meta := cursor{b: c.bytes()}
			for meta.next() {
				switch meta.num {
				case 1:
					s.ConfState = ConfState{}
					if cs := decodeConfState(meta.bytes(), &s.ConfState); cs.bad {
						meta.fail()
					}
				case 2:
					s.Index = meta.varint()
				case 3:
					s.Term = meta.varint()
				default:
					meta.skip()
				}
			}
			c.bad = c.bad || meta.bad
		default:
			c.skip()
		}
	}
	if !s.CRCOK {
		return s, corrupt("snap-crc-mismatch", start, "checksum stored %08x, computed %08x", s.CRC, sum)
	}
	if c.bad {
		return s, corrupt("snap-malformed", start, "the snapshot does not decode, though its checksum is right")
	}
	if term, index, ok := parseName(src.Name, ".snap"); !ok || term != s.Term || index != s.Index {
		s.Findings = append(s.Findings, finding.New("snap-name-differs", finding.Warning, src.Name,
			"the file holds the snapshot of term %d, index %d, which its name does not say", s.Term, s.Index))
	}
	return s, nil
}

var errTooDeep = fmt.Errorf("nested more than %d levels deep", nest.Limit)

// unmarshal decodes JSON that is not too deep.
func unmarshal(b []byte, to any) error {
	if nest.Deeper(b, nest.Limit) {
		return errTooDeep
	}
	return json.Unmarshal(b, to)
}

// Membership is what the v2 store knows about the cluster: up to etcd 3.5 the truth about it at the snapshot's index.
type Membership struct {
	Members        []ConfMember // by id
	Removed        []uint64
	ClusterVersion string
	// V2Keys are the paths of data that users stored with the v2 API.
	V2Keys []string
}

// maxStore is how deep the JSON of the v2 store may be: it has two levels for each part of a path that a user chose.
const maxStore = 5 * nest.Limit

// node is a directory or a file of the v2 store (server/etcdserver/api/v2store, etcd 3.5).
type node struct {
	Value    string
	Children map[string]*node
}

func (n *node) child(names ...string) *node {
	for _, name := range names {
		if n == nil {
			return nil
		}
		n = n.Children[name]
	}
	return n
}

// Membership reads the cluster's members out of the v2 store.
func (s *Snap) Membership() (*Membership, error) {
	corrupt := func(format string, args ...any) error {
		return &CorruptError{Code: "snap-store-malformed", File: s.Name, What: fmt.Sprintf(format, args...)}
	}
	if nest.Deeper(s.Store, maxStore) {
		return nil, corrupt("the v2 store is nested more than %d levels deep", maxStore)
	}
	var store struct{ Root *node }
	if err := json.Unmarshal(s.Store, &store); err != nil || store.Root == nil {
		return nil, corrupt("the v2 store is not valid JSON") // the cause could quote a value
	}
	m := new(Membership)
	if v := store.Root.child("0", "version"); v != nil {
		m.ClusterVersion = v.Value
	}
	if all := store.Root.child("0", "members"); all != nil {
		for _, hex := range slices.Sorted(maps.Keys(all.Children)) {
			n := all.Children[hex]
			id, err := strconv.ParseUint(hex, 16, 64)
			if err != nil {
				return nil, corrupt("member id %q is not a number", hex)
			}
			// The two files are written apart: a member that never started has no attributes.
			var mem ConfMember
			for _, file := range []string{"raftAttributes", "attributes"} {
				if f := n.child(file); f != nil && unmarshal([]byte(f.Value), &mem) != nil {
					return nil, corrupt("the %s of member %016x are not valid JSON", file, id)
				}
			}
			mem.ID = id
			m.Members = append(m.Members, mem)
		}
	}
	if gone := store.Root.child("0", "removed_members"); gone != nil {
		for _, hex := range slices.Sorted(maps.Keys(gone.Children)) {
			id, err := strconv.ParseUint(hex, 16, 64)
			if err != nil {
				return nil, corrupt("removed member id %q is not a number", hex)
			}
			m.Removed = append(m.Removed, id)
		}
	}
	for _, top := range []string{"1", "2"} {
		m.V2Keys = store.Root.child(top).files("/"+top, m.V2Keys)
	}
	slices.SortFunc(m.Members, func(a, b ConfMember) int { return cmp.Compare(a.ID, b.ID) })
	slices.Sort(m.Removed)
	slices.Sort(m.V2Keys)
	return m, nil
}

// files appends the paths of everything below n, directories only if they are empty.
func (n *node) files(path string, to []string) []string {
	if n == nil {
		return to
	}
	for name, c := range n.Children {
		if p := path + "/" + strings.TrimPrefix(name, "/"); c != nil && len(c.Children) > 0 {
			to = c.files(p, to)
		} else {
			to = append(to, p)
		}
	}
	return to
}
