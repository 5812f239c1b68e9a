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

// Writes tells whether an entry is of the commonest kinds of requests, a put, a delete or a transaction, without decoding all of it.
// false may be one, too.
func (e *Entry) Writes() bool {
	if e.Type != EntryNormal {
		return false
	}
	writes := false
	for c := (cursor{b: e.Data}); c.next(); {
		switch c.num {
		case 1:
			c.varint()
		case 4, 5, 6, 100:
			c.bytes()
			writes = writes || c.num != 100
		default:
			return false
		}
		if c.bad {
			return false
		}
	}
	return writes
}

// decodePut decodes the commonest request without copying its key and value, which are parts of data. ok is false for
// anything but a put of the fields that etcd up to 3.7 knows.
func decodePut(data []byte) (*Request, bool) {
	p := new(putRequest)
	if !p.decode(data) {
		return nil, false
	}
	return &p.req, true
}

// decode does so for a request without fields.
func (p *putRequest) decode(data []byte) bool {
	found := false
	c := cursor{b: data}
	for c.next() {
		switch c.num {
		case 1:
			p.in.ID = c.varint()
		case 4:
			if found || !p.decodePut(c.bytes()) {
				return false
			}
			found = true
		case 100:
			if p.in.Header != nil || !p.decodeHeader(c.bytes()) {
				return false
			}
			p.in.Header = &p.header
		default:
			return false
		}
	}
	if c.bad || !found {
		return false
	}
	p.in.Put = &p.put
	p.req = Request{Type: "Put", ID: p.in.ID, Internal: &p.in, User: p.header.Username, AuthRevision: p.header.AuthRevision}
	if p.header.ID != 0 {
		p.req.ID = p.header.ID
	}
	return true
}

// Decoder decodes one entry after the other. What it returns of a put is valid until the next one; of a nil Decoder for good.
type Decoder struct{ put *putRequest }

// Decode decodes the request of an entry as the function Decode does.
func (d *Decoder) Decode(e *Entry) (*Request, error) {
	if d == nil {
		return Decode(e)
	}
	if e.Type == EntryNormal && len(e.Data) > 0 {
		if d.put == nil {
			d.put = new(putRequest)
		}
		if *d.put = (putRequest{}); d.put.decode(e.Data) {
			d.put.req.Problem = d.put.req.unset()
			return &d.put.req, nil
		}
	}
	return Decode(e)
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
