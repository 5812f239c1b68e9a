package inspecttest

import (
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// parser reads a request in words.
type parser struct {
	t     testing.TB
	words []string
}

func (p *parser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

func (p *parser) next() string {
	p.t.Helper()
	if len(p.words) == 0 {
		p.t.Fatal("a request ends early")
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *parser) number(s string) int64 {
	p.t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// accept takes a word if it is the next one.
func (p *parser) accept(word string) bool {
	if p.peek() != word {
		return false
	}
	p.next()
	return true
}

// end is that of a range, if one follows.
func (p *parser) end() []byte {
	switch w := p.peek(); w {
	case "", ";", "}":
		return nil
	case "*":
		p.next()
		return []byte{0}
	default:
		return []byte(p.next())
	}
}

// Request reads a request in words, such as "by 2 as ann@8 put a 1 lease=7", where 2 is the member that proposed it and 8 the auth revision:
//
//	put KEY VALUE [lease=ID] [keep-value] [keep-lease] [prev]
//	del KEY [END]                                           END * stands for all keys from there on
//	if COMPARE, ... { OP ; OP } else { OP }                 OP is one of these three, or "range REVISION [KEY [END]]", of the key a
//	grant ID [ttl=SECONDS]   revoke ID   compact REVISION   alarm on|off TYPE MEMBER
//	auth-on   auth-off   user-add NAME   role-add NAME      grant-role USER ROLE   permit ROLE KEY [END]
//
// A COMPARE is such as "value a = x" or "mod a..c > 5"; signs are =, !=, < and >. Signs and braces have blanks around them.
func Request(t testing.TB, words string) *pb.InternalRaftRequest {
	t.Helper()
	p := &parser{t, strings.Fields(words)}
	in := &pb.InternalRaftRequest{Header: &pb.RequestHeader{}}
	if p.accept("by") {
		in.Header.ID = uint64(p.number(p.next()))<<48 | 1
	}
	if p.accept("as") {
		user, revision, _ := strings.Cut(p.next(), "@")
		in.Header.Username, in.Header.AuthRevision = user, uint64(p.number(revision))
	}
	switch p.peek() {
	case "put", "del", "if":
		switch o := p.op(); {
		case o.GetRequestPut() != nil:
			in.Put = o.GetRequestPut()
		case o.GetRequestDeleteRange() != nil:
			in.DeleteRange = o.GetRequestDeleteRange()
		default:
			in.Txn = o.GetRequestTxn()
		}
	default:
		p.other(in)
	}
	if len(p.words) > 0 {
		t.Fatalf("%s: what is %q?", words, p.words)
	}
	return in
}

func (p *parser) other(in *pb.InternalRaftRequest) {
	switch verb := p.next(); verb {
	case "grant":
		in.LeaseGrant = &pb.LeaseGrantRequest{ID: p.number(p.next()), TTL: 60}
		if ttl, ok := strings.CutPrefix(p.peek(), "ttl="); ok {
			p.next()
			in.LeaseGrant.TTL = p.number(ttl)
		}
	case "revoke":
		in.LeaseRevoke = &pb.LeaseRevokeRequest{ID: p.number(p.next())}
	case "compact":
		in.Compaction = &pb.CompactionRequest{Revision: p.number(p.next())}
	case "alarm":
		in.Alarm = &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE}
		if p.next() == "on" {
			in.Alarm.Action = pb.AlarmRequest_ACTIVATE
		}
		in.Alarm.Alarm = pb.AlarmType(pb.AlarmType_value[p.next()])
		in.Alarm.MemberID = uint64(p.number(p.next()))
	case "auth-on":
		in.AuthEnable = &pb.AuthEnableRequest{}
	case "auth-off":
		in.AuthDisable = &pb.AuthDisableRequest{}
	case "user-add":
		in.AuthUserAdd = &pb.AuthUserAddRequest{Name: p.next(), Options: &authpb.UserAddOptions{NoPassword: true}}
	case "role-add":
		in.AuthRoleAdd = &pb.AuthRoleAddRequest{Name: p.next()}
	case "grant-role":
		in.AuthUserGrantRole = &pb.AuthUserGrantRoleRequest{User: p.next(), Role: p.next()}
	case "permit":
		in.AuthRoleGrantPermission = &pb.AuthRoleGrantPermissionRequest{Name: p.next()}
		in.AuthRoleGrantPermission.Perm = &authpb.Permission{PermType: authpb.READWRITE, Key: []byte(p.next()), RangeEnd: p.end()}
	default:
		p.t.Fatalf("no such request: %s", verb)
	}
}

// op is one of a transaction, or all of a request.
func (p *parser) op() *pb.RequestOp {
	p.t.Helper()
	switch verb := p.next(); verb {
	case "put":
		put := &pb.PutRequest{Key: []byte(p.next()), Value: []byte(p.next())}
		for more := true; more; {
			switch w := p.peek(); {
			case w == "keep-value":
				p.next()
				put.IgnoreValue, put.Value = true, nil
			case w == "keep-lease":
				p.next()
				put.IgnoreLease = true
			case w == "prev":
				p.next()
				put.PrevKv = true
			case strings.HasPrefix(w, "lease="):
				put.Lease = p.number(strings.TrimPrefix(p.next(), "lease="))
			default:
				more = false
			}
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
	case "del":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(p.next()), RangeEnd: p.end()}}}
	case "range":
		r := &pb.RangeRequest{Key: []byte("a"), Revision: p.number(p.next())}
		if key := p.end(); key != nil {
			r.Key, r.RangeEnd = key, p.end()
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	case "if":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: p.txn()}}
	default:
		p.t.Fatalf("no such operation: %s", verb)
		return nil
	}
}

func (p *parser) txn() *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for p.peek() != "{" {
		r.Compare = append(r.Compare, p.compare())
		p.accept(",")
	}
	r.Success = p.branch()
	if p.accept("else") {
		r.Failure = p.branch()
	}
	return r
}

func (p *parser) branch() (ops []*pb.RequestOp) {
	if !p.accept("{") {
		p.t.Fatalf("%q is no branch", p.words)
	}
	for !p.accept("}") {
		ops = append(ops, p.op())
		p.accept(";")
	}
	return ops
}

// compare is such as "mod a..c > 5".
func (p *parser) compare() *pb.Compare {
	target := strings.ToUpper(p.next())
	key, end, _ := strings.Cut(p.next(), "..")
	if end == "*" {
		end = "\x00"
	}
	c := &pb.Compare{Target: pb.Compare_CompareTarget(pb.Compare_CompareTarget_value[target]), Key: []byte(key), RangeEnd: []byte(end)}
	switch sign := p.next(); sign {
	case "=":
		c.Result = pb.Compare_EQUAL
	case "!=":
		c.Result = pb.Compare_NOT_EQUAL
	case ">":
		c.Result = pb.Compare_GREATER
	case "<":
		c.Result = pb.Compare_LESS
	default:
		p.t.Fatalf("no such sign: %s", sign)
	}
	than := p.next()
	switch target {
	case "VALUE":
		c.TargetUnion = &pb.Compare_Value{Value: []byte(than)}
	case "CREATE":
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: p.number(than)}
	case "MOD":
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: p.number(than)}
	case "VERSION":
		c.TargetUnion = &pb.Compare_Version{Version: p.number(than)}
	case "LEASE":
		c.TargetUnion = &pb.Compare_Lease{Lease: p.number(than)}
	default:
		p.t.Fatalf("nothing has a %s", target)
	}
	return c
}
