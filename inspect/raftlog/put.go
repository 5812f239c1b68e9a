package raftlog

import (
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// putRequest holds all that a put decodes to, so that it is allocated at once.
type putRequest struct {
	req    Request
	in     pb.InternalRaftRequest
	header pb.RequestHeader
	put    pb.PutRequest
}

// IsPut tells whether an entry is the commonest kind of request, a put, without decoding all of it. false may be one, too.
func (e *Entry) IsPut() bool {
	if e.Type != EntryNormal {
		return false
	}
	put := false
	for c := (cursor{b: e.Data}); c.next(); {
		switch c.num {
		case 1:
			c.varint()
		case 4, 100:
			c.bytes()
			put = put || c.num == 4
		default:
			return false
		}
		if c.bad {
			return false
		}
	}
	return put
}

// decodePut decodes the commonest request without copying its key and value, which are parts of data. ok is false for
// anything but a put of the fields that etcd up to 3.7 knows.
func decodePut(data []byte) (*Request, bool) {
	p := new(putRequest)
	found := false
	c := cursor{b: data}
	for c.next() {
		switch c.num {
		case 1:
			p.in.ID = c.varint()
		case 4:
			if found || !p.decodePut(c.bytes()) {
				return nil, false
			}
			found = true
		case 100:
			if p.in.Header != nil || !p.decodeHeader(c.bytes()) {
				return nil, false
			}
			p.in.Header = &p.header
		default:
			return nil, false
		}
	}
	if c.bad || !found {
		return nil, false
	}
	p.in.Put = &p.put
	p.req = Request{Type: "Put", ID: p.in.ID, Internal: &p.in, User: p.header.Username, AuthRevision: p.header.AuthRevision}
	if p.header.ID != 0 {
		p.req.ID = p.header.ID
	}
	return &p.req, true
}

func (p *putRequest) decodePut(b []byte) bool {
	c := cursor{b: b}
	for c.next() {
		switch c.num {
		case 1:
			p.put.Key = c.bytes()
		case 2:
			p.put.Value = c.bytes()
		case 3:
			p.put.Lease = int64(c.varint())
		case 4:
			p.put.PrevKv = c.varint() != 0
		case 5:
			p.put.IgnoreValue = c.varint() != 0
		case 6:
			p.put.IgnoreLease = c.varint() != 0
		default:
			return false
		}
	}
	return !c.bad
}

func (p *putRequest) decodeHeader(b []byte) bool {
	c := cursor{b: b}
	for c.next() {
		switch c.num {
		case 1:
			p.header.ID = c.varint()
		case 2:
			name := c.bytes()
			if !utf8.Valid(name) {
				return false
			}
			p.header.Username = string(name)
		case 3:
			p.header.AuthRevision = c.varint()
		default:
			return false
		}
	}
	return !c.bad
}
