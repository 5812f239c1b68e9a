package relive

import (
	"slices"
	"testing"

	"etcd-autopsy/diff/align"
)

// TestSpace takes changes of keys back one by one, and looks at every revision in between.
func TestSpace(t *testing.T) {
	s := space{keys: map[string][]version{}}
	changes := []align.Change{
		{Key: "b", Value: []byte("1"), Lease: 7}, {Key: "a", Value: []byte("2")}, {Delete: true, Key: "b"}, {Key: "b", Value: []byte("3"), Lease: 7},
	}
	for i := range changes {
		s.put(&changes[i], int64(i+2))
	}
	attached := func() (all [][]string) {
		for main := int64(1); main <= 5; main++ {
			all = append(all, s.Attached(7, main))
		}
		return all
	}
	want := [][]string{nil, {"b"}, {"b"}, nil, {"b"}}
	if got := attached(); !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("attached %v, want %v", got, want)
	}
	var keys []string
	s.Range("a", "\x00", func(k string) { keys = append(keys, k) })
	if !slices.Equal(keys, []string{"a", "b"}) {
		t.Errorf("keys %v", keys)
	}
	s.back(2)
	want = [][]string{nil, {"b"}, {"b"}, {"b"}, {"b"}}
	if got := attached(); !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("attached %v, want %v after going back", got, want)
	}
	s.back(0)
	if _, _, ok := s.At("b", 9); ok {
		t.Error("a key is there before any change")
	}
	keys = nil
	s.Range("b", "", func(k string) { keys = append(keys, k) })
	if len(keys) > 0 {
		t.Errorf("keys %v before any change", keys)
	}
}
