package raftlog

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func FuzzRead(f *testing.F) {
	srcs := smallLog(f)
	f.Add(srcs[0].Data, srcs[1].Data, srcs[2].Data)
	f.Add(srcs[0].Data, srcs[1].Data[:500], srcs[2].Data)
	f.Add(srcs[0].Data, []byte{}, bytes.Repeat([]byte{1, 2, 3}, 100))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		srcs := []Source{{srcs[0].Name, a}, {srcs[1].Name, b}, {srcs[2].Name, c}}
		l := Read(srcs)
		checkCoverage(t, l, srcs)
		l.Gaps()
		for i := range l.Entries {
			if i > 0 && l.Entries[i].Index <= l.Entries[i-1].Index {
				t.Fatal("entries out of order")
			}
			if l.Entry(l.Entries[i].Index) != &l.Entries[i] {
				t.Fatal("entry not found by its index")
			}
		}
		for _, f := range l.Findings {
			if f.Offset < -1 || f.Code == "" || f.File == "" {
				t.Fatal(f)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, r := range v2Requests {
		f.Add(uint8(0), v2(r))
	}
	f.Add(uint8(0), marshal(f, &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 1, Username: "u"}, AuthUserAdd: &pb.AuthUserAddRequest{Name: "n", Password: "p"}}))
	f.Add(uint8(0), marshal(f, &pb.InternalRaftRequest{Txn: &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("k")}}, Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k")}}},
	}}}))
	f.Add(uint8(1), []byte{8, 1, 16, 3, 24, 5, 34, 2, '{', '}'})
	f.Add(uint8(2), []byte{8, 1, 18, 4, 8, 1, 16, 5, 26, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, typ uint8, data []byte) {
		r, err := Decode(&Entry{Index: 1, Type: EntryType(typ % 4), Data: data})
		if err == nil && (r == nil || r.Type == "") {
			t.Fatal("neither request nor error")
		}
		if r == nil {
			return
		}
		if s := r.Summary(); s == "" || len(s) > 20_000 {
			t.Fatalf("summary of %d bytes", len(s))
		}
		r.Keys()
		if in := r.Internal; in != nil && (in.GetAuthUserAdd().GetPassword() != "" || in.GetAuthenticate().GetPassword() != "") {
			t.Fatal("password left")
		}
	})
}

func FuzzSnap(f *testing.F) {
	src := snapFile(f, store)
	f.Add(src.Data, []byte(store))
	f.Add([]byte{8, 1, 18, 0}, []byte(`{"Root":{"Children":{"1":null}}}`))
	f.Fuzz(func(t *testing.T, file, store []byte) {
		if s, err := ReadSnap(Source{src.Name, file}); err == nil {
			_, _ = s.Membership() // it must not panic
		} else if s != nil && s.CRCOK && s.CRC == 0 {
			t.Fatal("checksum 0 accepted")
		}
		_, _ = (&Snap{Name: src.Name, Store: store}).Membership()
	})
}
