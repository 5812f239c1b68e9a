package replay

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/raftlog"
)

// unsetRequests are one request of each kind with all of its parts unset, and with each of them set to an empty one, two levels deep.
func unsetRequests() (all []*pb.InternalRaftRequest) {
	fields := (&pb.InternalRaftRequest{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Message() == nil || f.Name() == "header" {
			continue
		}
		for k := -1; k < f.Message().Fields().Len(); k++ {
			r := &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: uint64(len(all) + 1)}}
			m := r.ProtoReflect().Mutable(f).Message()
			if k >= 0 {
				set(m, f.Message().Fields().Get(k))
			}
			all = append(all, r, &pb.InternalRaftRequest{})
			proto.Merge(all[len(all)-1], r)
			all[len(all)-1].Header = nil
		}
	}
	return all
}

// set sets a field to what there is least of: one empty message, or a byte.
func set(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsList() && f.Message() != nil:
		m.Mutable(f).List().AppendMutable()
	case f.IsList():
		m.Mutable(f).List().Append(protoreflect.ValueOfString("x"))
	case f.Message() != nil:
		m.Mutable(f)
	case f.Kind() == protoreflect.BytesKind:
		m.Set(f, protoreflect.ValueOfBytes([]byte("x")))
	case f.Kind() == protoreflect.StringKind:
		m.Set(f, protoreflect.ValueOfString("x"))
	case f.Kind() == protoreflect.Int64Kind:
		m.Set(f, protoreflect.ValueOfInt64(1))
	}
}

// TestUnset runs requests with unset parts: each is refused or has the effect that it has on a server, or it is said which entry
// keeps the rest from being run.
func TestUnset(t *testing.T) {
	n := 0
	for i, r := range unsetRequests() {
		data, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		raw := &raftlog.Entry{Index: 1, Term: 1, Data: data}
		_, err = Run(context.Background(), Empty(), []effect.Entry{{Index: 1, Term: 1, Raw: raw}}, Today(), Options{TempDir: t.TempDir()})
		if n++; err == nil {
			continue
		}
		e := new(EntryError)
		if !errors.As(err, &e) || strings.Contains(err.Error(), "runtime error") || strings.Contains(err.Error(), "nil pointer") || !strings.Contains(err.Error(), "asks for nothing") {
			t.Errorf("%d: %v: %v", i, r, err)
		}
	}
	if n < 60 {
		t.Errorf("only %d requests", n)
	}
}
