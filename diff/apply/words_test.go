package apply

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
)

// line is one of a case: a request in words, and what is wanted of it.
type line struct {
	words, want string
}

// casesOf are those of a file, by name.
func casesOf(t *testing.T, path string) map[string][]line {
	t.Helper()
	file, err := txtar.ParseFile(path)
	if err != nil || len(file.Files) == 0 {
		t.Fatalf("%d cases: %v", len(file.Files), err)
	}
	all := map[string][]line{}
	for _, c := range file.Files {
		for l := range strings.Lines(string(c.Data)) {
			if words, want, _ := strings.Cut(l, "=>"); strings.TrimSpace(words) != "" {
				all[c.Name] = append(all[c.Name], line{strings.TrimSpace(words), strings.TrimSpace(want)})
			}
		}
	}
	return all
}

// parser reads a request in words.
type parser struct {
	t     *testing.T
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

// requestOf reads such as "as ann@8 put a 1 lease=7".
func requestOf(t *testing.T, words string) *raftlog.Request {
	t.Helper()
	p := &parser{t, strings.Fields(words)}
	r := &raftlog.Request{Internal: &pb.InternalRaftRequest{}}
	if p.accept("as") {
		user, revision, _ := strings.Cut(p.next(), "@")
		r.User, r.AuthRevision = user, uint64(p.number(revision))
	}
	in := r.Internal
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
	return r
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
		in.AuthUserAdd = &pb.AuthUserAddRequest{Name: p.next()}
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
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a"), Revision: p.number(p.next())}}}
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

// ready is a log of such requests. keys are known besides.
func ready(rs []*raftlog.Request, keys ...string) *Log {
	return NewLog(len(rs), func(i int) uint64 { return uint64(i + 1) }, func(i int) *raftlog.Request { return rs[i] }, keys, nil)
}

// TestWords applies the cases of testdata/apply.txtar, and takes them back.
func TestWords(t *testing.T) {
	t.Parallel()
	for name, lines := range casesOf(t, "testdata/apply.txtar") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var rs []*raftlog.Request
			for _, l := range lines {
				if !strings.HasPrefix(l.words, "rules ") {
					_, words, way := strings.Cut(l.words, ": ")
					if !way {
						words = l.words
					}
					rs = append(rs, requestOf(t, words))
				}
			}
			s := New(ready(rs))
			start, i := s.Digest(), 0
			for _, l := range lines {
				if name, ok := strings.CutPrefix(l.words, "rules "); ok {
					s.Rules = map[string]Rules{"3.2": Rules32, "3.3": Rules33, "3.5.10": Rules3510}[name]
					continue
				}
				e, way := &s.Log.Entries[i], Plain
				i++
				switch {
				case strings.HasPrefix(l.words, "otherwise: "):
					way = Otherwise
				case strings.HasPrefix(l.words, "unchecked: "):
					way = Unchecked
				}
				mark, before := s.Mark(), s.Digest()
				got := changes(s, s.Apply(e, way))
				if got != l.want {
					t.Errorf("%s\n\t%s\n\twant %s", l.words, got, l.want)
				}
				after := s.Digest()
				if s.Back(mark); s.Digest() != before {
					t.Errorf("%s: cannot be taken back", l.words)
				}
				if again := changes(s, s.Apply(e, way)); again != got || s.Digest() != after {
					t.Errorf("%s: done again, it does %s after %s", l.words, again, got)
				}
			}
			s.Rules = 0
			if s.Back(0); s.Digest() != start {
				t.Error("taking all back does not lead to the beginning")
			}
		})
	}
}

// TestToldInWords tells what the entries of testdata/told.txtar may do.
func TestToldInWords(t *testing.T) {
	t.Parallel()
	for name, lines := range casesOf(t, "testdata/told.txtar") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, l := range lines {
				log := ready([]*raftlog.Request{requestOf(t, l.words)}, "a", "b", "c", "d")
				if got := told(log, &log.Entries[0]); got != l.want {
					t.Errorf("%s\n\t%s\n\twant %s", l.words, got, l.want)
				}
			}
		})
	}
}

// told is what an entry tells before it is applied.
func told(l *Log, e *Entry) string {
	span := func(lo, hi int32) string {
		switch {
		case lo >= hi:
			return "none"
		case hi-lo == 1:
			return l.Keys[lo]
		}
		return l.Keys[lo] + ".." + l.Keys[hi-1]
	}
	var asks, puts, removes []string
	e.Asks(func(lo, hi int32, h Hint) {
		asks = append(asks, span(lo, hi)+[]string{"?", " exists", " absent"}[h])
	})
	e.Puts(func(key int32, _ Value, keeps bool) {
		puts = append(puts, l.Keys[key]+map[bool]string{true: "="}[keeps])
	})
	e.Removes(func(lo, hi int32) { removes = append(removes, span(lo, hi)) })
	least, most := e.Range()
	out := []string{strconv.Itoa(least) + " to " + strconv.Itoa(most)}
	for _, x := range []struct {
		verb  string
		words []string
		sep   string
	}{{"asks ", asks, ", "}, {"puts ", puts, " "}, {"removes ", removes, " "}} {
		if len(x.words) > 0 {
			out = append(out, x.verb+strings.Join(x.words, x.sep))
		}
	}
	return strings.Join(slices.Clip(out), "; ")
}
