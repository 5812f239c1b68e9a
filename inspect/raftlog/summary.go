package raftlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	maxKeyShown  = 256 // bytes of one key in a summary
	maxKeysShown = 3   // keys of one kind in a summary
)

// Summary is the request in one line for people. It holds keys, names and ids, but never a value or a secret.
func (r *Request) Summary() string {
	if s := r.summary(); r.Problem == "" {
		return s
	} else {
		return s + " (" + r.Problem + ")"
	}
}

func (r *Request) summary() string {
	var b strings.Builder
	b.WriteString(r.Type)
	add := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	in := r.Internal
	if in == nil {
		in = new(pb.InternalRaftRequest)
	}
	switch r.Type {
	case "Put":
		p := in.Put
		add("%s (%d bytes", text(p.GetKey()), len(p.GetValue()))
		if p.GetLease() != 0 {
			b.WriteString(", lease " + id(p.GetLease()))
		}
		if p.GetIgnoreValue() {
			b.WriteString(", keeps the value")
		}
		if p.GetIgnoreLease() {
			b.WriteString(", keeps the lease")
		}
		b.WriteString(")")
	case "DeleteRange":
		add("%s", span(in.DeleteRange.GetKey(), in.DeleteRange.GetRangeEnd()))
	case "Range":
		add("%s", span(in.Range.GetKey(), in.Range.GetRangeEnd()))
	case "Txn":
		t := in.Txn
		add("%d compare%s, then %s, else %s", len(t.GetCompare()), plural(len(t.GetCompare())), ops(t.GetSuccess()), ops(t.GetFailure()))
	case "Compaction":
		add("%d", in.Compaction.GetRevision())
	case "LeaseGrant":
		add("%s (%d s)", id(in.LeaseGrant.GetID()), in.LeaseGrant.GetTTL())
	case "LeaseRevoke":
		add("%s", id(in.LeaseRevoke.GetID()))
	case "LeaseCheckpoint":
		for i, c := range in.LeaseCheckpoint.GetCheckpoints() {
			if i == maxKeysShown {
				add("and %d more", len(in.LeaseCheckpoint.GetCheckpoints())-i)
				break
			}
			add("%s (%d s left)", id(c.GetID()), c.GetRemaining_TTL())
		}
	case "Alarm":
		add("%s %s %016x", in.Alarm.GetAction(), in.Alarm.GetAlarm(), in.Alarm.GetMemberID())
	case "Authenticate":
		add("%s", text(in.Authenticate.GetName()))
	case "AuthUserAdd":
		add("%s", text(in.AuthUserAdd.GetName()))
	case "AuthUserDelete":
		add("%s", text(in.AuthUserDelete.GetName()))
	case "AuthUserGet":
		add("%s", text(in.AuthUserGet.GetName()))
	case "AuthUserChangePassword":
		add("%s", text(in.AuthUserChangePassword.GetName()))
	case "AuthUserGrantRole":
		add("%s %s", text(in.AuthUserGrantRole.GetUser()), text(in.AuthUserGrantRole.GetRole()))
	case "AuthUserRevokeRole":
		add("%s %s", text(in.AuthUserRevokeRole.GetName()), text(in.AuthUserRevokeRole.GetRole()))
	case "AuthRoleAdd":
		add("%s", text(in.AuthRoleAdd.GetName()))
	case "AuthRoleDelete":
		add("%s", text(in.AuthRoleDelete.GetRole()))
	case "AuthRoleGet":
		add("%s", text(in.AuthRoleGet.GetRole()))
	case "AuthRoleGrantPermission":
		p := in.AuthRoleGrantPermission.GetPerm()
		add("%s %s %s", text(in.AuthRoleGrantPermission.GetName()), p.GetPermType(), span(p.GetKey(), p.GetRangeEnd()))
	case "AuthRoleRevokePermission":
		m := in.AuthRoleRevokePermission
		add("%s %s", text(m.GetRole()), span(m.GetKey(), m.GetRangeEnd()))
	case "ClusterVersionSet":
		add("%s", text(in.ClusterVersionSet.GetVer()))
	case "ClusterMemberAttrSet":
		m := in.ClusterMemberAttrSet
		add("%016x %s", m.GetMember_ID(), text(m.GetMemberAttributes().GetName()))
	case "DowngradeInfoSet":
		if in.DowngradeInfoSet.GetEnabled() {
			add("to %s", text(in.DowngradeInfoSet.GetVer()))
		} else {
			add("off")
		}
	case "DowngradeVersionTest":
		add("%s", text(in.DowngradeVersionTest.GetVer()))
	case "V2Request":
		if r.V2 == nil {
			break
		}
		if r.V2.KnownMethod() {
			add("%s", text(r.V2.Method))
		} else {
			add("method of %s", told(r.V2.Method))
		}
		switch {
		case r.V2.Path == "":
		case r.V2.KnownPath():
			add("%s", text(r.V2.Path))
		default:
			add("path of %s", told(r.V2.Path))
		}
	case "ConfChange", "ConfChangeV2":
		if r.ConfChange == nil {
			break
		}
		for i, c := range r.ConfChange.Changes {
			if i == maxKeysShown {
				add("and %d more", len(r.ConfChange.Changes)-i)
				break
			}
			add("%s %016x", c.Type, c.NodeID)
		}
		if r.ConfChange.IsPromote {
			add("(promotion)")
		}
	case "Unknown":
		if len(r.Unknown) > 0 {
			add("field %d", r.Unknown[0])
		}
	}
	return b.String()
}

// id is a lease id as etcd shows it, filled up to 16 digits.
func id(lease int64) string { return fmt.Sprintf("%016x", uint64(lease)) }

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// text is a key or a name as it is if it can be printed, in hex if not, and cut if it is long.
func text[T string | []byte](key T) string {
	s, rest := string(key), ""
	if len(s) > maxKeyShown {
		cut := maxKeyShown
		for cut > maxKeyShown-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s, rest = s[:cut], fmt.Sprintf("... (%d bytes)", len(key))
	}
	if s == "" {
		return `""`
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "0x" + hex.EncodeToString([]byte(s)) + rest
	}
	return s + rest
}

// told is what is shown of bytes that are not understood: they may be a value, or a secret.
func told(s string) string {
	return fmt.Sprintf("%d bytes, sha256 %.6x..", len(s), sha256.Sum256([]byte(s)))
}

// span is a key, or a range from a key (included) to another one (excluded).
func span(key, end []byte) string {
	switch {
	case len(end) == 0:
		return text(key)
	case bytes.Equal(end, []byte{0}):
		return text(key) + ".."
	}
	return text(key) + ".." + text(end)
}

// ops lists the operations of a branch by kind: "1 put /a, 2 deletes /b /c..".
func ops(list []*pb.RequestOp) string {
	kinds := [...]string{"put", "delete", "range", "txn", "unknown"}
	var keys [len(kinds)][]string
	for _, op := range list {
		switch o := op.GetRequest().(type) {
		case *pb.RequestOp_RequestPut:
			keys[0] = append(keys[0], text(o.RequestPut.GetKey()))
		case *pb.RequestOp_RequestDeleteRange:
			keys[1] = append(keys[1], span(o.RequestDeleteRange.GetKey(), o.RequestDeleteRange.GetRangeEnd()))
		case *pb.RequestOp_RequestRange:
			keys[2] = append(keys[2], span(o.RequestRange.GetKey(), o.RequestRange.GetRangeEnd()))
		case *pb.RequestOp_RequestTxn:
			keys[3] = append(keys[3], fmt.Sprintf("(%d and %d)", len(o.RequestTxn.GetSuccess()), len(o.RequestTxn.GetFailure())))
		default:
			keys[4] = append(keys[4], "")
		}
	}
	var parts []string
	for i, ks := range keys {
		if n := len(ks); n > 0 {
			part := fmt.Sprintf("%d %s%s %s", n, kinds[i], plural(n), strings.Join(ks[:min(n, maxKeysShown)], " "))
			if n > maxKeysShown {
				part += " ..."
			}
			parts = append(parts, strings.TrimSpace(part))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// Branch says under which condition a write happens.
type Branch int

// The conditions.
const (
	Always  Branch = iota
	Success        // in the then branch of the outermost transaction
	Failure        // in the else branch
)

// Write is something that a request can do to keys.
type Write struct {
	Branch Branch
	Delete bool
	// Key is the key, or the start of the range if End is set. An End of one zero byte means every key from Key on.
	Key, End []byte
	Lease    int64 // of a put
}

// Range says which keys a write covers: one, all with a prefix, or all from a key on, up to another one (excluded) if there is one.
func (w *Write) Range() string {
	switch n := len(w.Key); {
	case len(w.End) == 0:
		return text(w.Key)
	case bytes.Equal(w.End, []byte{0}) && (n == 0 || bytes.Equal(w.Key, []byte{0})):
		return "all keys"
	case bytes.Equal(w.End, []byte{0}):
		return "all keys from " + text(w.Key) + " on"
	case n > 0 && n == len(w.End) && w.Key[n-1] < 0xff && bytes.Equal(w.Key[:n-1], w.End[:n-1]) && w.Key[n-1]+1 == w.End[n-1]:
		return "prefix " + text(w.Key)
	}
	return text(w.Key) + ".." + text(w.End)
}

// Keys lists the keys and ranges that a request can write, in the order of its operations. A LeaseRevoke deletes the
// keys that are attached to its lease, which the request does not list.
func (r *Request) Keys() []Write {
	switch {
	case r.Internal == nil:
		return nil
	case r.Type == "Put":
		return []Write{{Key: r.Internal.GetPut().GetKey(), Lease: r.Internal.GetPut().GetLease()}}
	case r.Type == "DeleteRange":
		return []Write{{Delete: true, Key: r.Internal.GetDeleteRange().GetKey(), End: r.Internal.GetDeleteRange().GetRangeEnd()}}
	case r.Type == "Txn":
		return branchWrites(branchWrites(nil, Success, r.Internal.GetTxn().GetSuccess()), Failure, r.Internal.GetTxn().GetFailure())
	}
	return nil
}

func branchWrites(to []Write, b Branch, list []*pb.RequestOp) []Write {
	for _, op := range list {
		if p := op.GetRequestPut(); p != nil {
			to = append(to, Write{Branch: b, Key: p.Key, Lease: p.Lease})
		} else if d := op.GetRequestDeleteRange(); d != nil {
			to = append(to, Write{Branch: b, Delete: true, Key: d.Key, End: d.RangeEnd})
		} else if t := op.GetRequestTxn(); t != nil {
			to = branchWrites(branchWrites(to, b, t.Success), b, t.Failure)
		}
	}
	return to
}
