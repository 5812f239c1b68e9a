package raftlog

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// cursor walks the fields of a protobuf message. The first malformed field, or one of a wrong wire type, ends the walk
// and sets bad. Slices that it returns are parts of the message.
type cursor struct {
	b       []byte
	num     protowire.Number
	typ     protowire.Type
	bad     bool
	unknown bool // a field was skipped
}

func (c *cursor) fail() { c.bad, c.b = true, nil }

// next reads a tag.
func (c *cursor) next() bool {
	if len(c.b) == 0 {
		return false
	}
	if t := c.b[0]; t >= 8 && t < 0x80 {
		c.num, c.typ, c.b = protowire.Number(t>>3), protowire.Type(t&7), c.b[1:]
		return true
	}
	num, typ, n := protowire.ConsumeTag(c.b)
	if n < 0 {
		c.fail()
		return false
	}
	c.num, c.typ, c.b = num, typ, c.b[n:]
	return true
}

func (c *cursor) rawVarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := uint64(c.b[0])
		c.b = c.b[1:]
		return v
	}
	v, n := protowire.ConsumeVarint(c.b)
	if n < 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() uint64 {
	if c.typ != protowire.VarintType {
		c.fail()
		return 0
	}
	return c.rawVarint()
}

// uint32 drops what lies beyond 32 bits, as every decoder of protobuf does.
func (c *cursor) uint32() uint32 { return uint32(c.varint()) }

func (c *cursor) bytes() []byte {
	if c.typ != protowire.BytesType {
		c.fail()
		return nil
	}
	n := c.rawVarint()
	if c.bad || n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// list appends the values of a repeated uint64, packed or not.
func (c *cursor) list(to []uint64) []uint64 {
	if c.typ != protowire.BytesType {
		return append(to, c.varint())
	}
	for p := (cursor{b: c.bytes()}); len(p.b) > 0; {
		if to = append(to, p.rawVarint()); p.bad {
			c.fail()
		}
	}
	return to
}

func (c *cursor) skip() {
	n := protowire.ConsumeFieldValue(c.num, c.typ, c.b)
	if n < 0 {
		c.fail()
		return
	}
	c.unknown, c.b = true, c.b[n:]
}

// decodeVarints decodes a message whose fields 1, 2, ... are varints.
func decodeVarints(b []byte, to ...*uint64) (c cursor) {
	for c.b = b; c.next(); {
		if i := int(c.num) - 1; i < len(to) {
			*to[i] = c.varint()
		} else {
			c.skip()
		}
	}
	return c
}

// decodeEntry decodes a raftpb.Entry.
func decodeEntry(b []byte, e *Entry) (c cursor) {
	for c.b = b; c.next(); {
		switch c.num {
		case 1:
			t := c.varint()
			if t > uint64(EntryConfChangeV2) {
				c.fail()
			}
			e.Type = EntryType(t)
		case 2:
			e.Term = c.varint()
		case 3:
			e.Index = c.varint()
		case 4:
			e.Data = c.bytes()
		default:
			c.skip()
		}
	}
	return c
}

// decodeConfState decodes a raftpb.ConfState.
func decodeConfState(b []byte, s *ConfState) (c cursor) {
	for c.b = b; c.next(); {
		switch c.num {
		case 1:
			s.Voters = c.list(s.Voters)
		case 2:
			s.Learners = c.list(s.Learners)
		case 3:
			s.VotersOutgoing = c.list(s.VotersOutgoing)
		case 4:
			s.LearnersNext = c.list(s.LearnersNext)
		case 5:
			s.AutoLeave = c.varint() != 0
		default:
			c.skip()
		}
	}
	return c
}

// decodeSnapshot decodes a walpb.Snapshot.
func decodeSnapshot(b []byte, s *SnapshotRecord) (c cursor) {
	for c.b = b; c.next(); {
		switch c.num {
		case 1:
			s.Index = c.varint()
		case 2:
			s.Term = c.varint()
		case 3:
			s.ConfState = new(ConfState)
			if cs := decodeConfState(c.bytes(), s.ConfState); cs.bad {
				c.fail()
			}
		default:
			c.skip()
		}
	}
	return c
}
