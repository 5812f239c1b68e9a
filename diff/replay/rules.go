package replay

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/lease/leasepb"

	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/effect"
)

// Rules are what entries are applied by: etcd 3.7, and what is different.
type Rules struct {
	Name  string
	Rules []*Rule
}

// Rule is one difference from etcd 3.7. Every hook may be nil.
type Rule struct {
	// Name completes "under the rule that ...".
	Name string
	// Begin is called before the first entry of a run.
	Begin func()
	// Sequence changes which entries are applied, and how often.
	Sequence func(entries []effect.Entry) []effect.Entry
	// Request may change a request before it is applied; false leaves it out.
	Request func(x *Exec) bool
	// Permit may overrule what etcd answers to a question of permission.
	Permit func(x *Exec, c Check, err error) error
	// AuthRevision is added to the auth revision that requests are measured by.
	AuthRevision func(x *Exec) uint64
	// HidesLease makes a lease look as if it were not there.
	HidesLease func(x *Exec, id int64) bool
	// Uncapped makes an entry be applied as if no alarm were on.
	Uncapped func(x *Exec) bool
	// After is told what became of a request, and whether the auth revision has changed.
	After func(x *Exec, err error, authChanged bool)
}

// Kind is what a permission is asked for.
type Kind int

// Kinds of permission.
const (
	Read Kind = iota
	Write
	Delete
	// Admin is asked for before auth requests, and before the keys of a lease are looked at: those who may do
	// everything need not be asked for each.
	Admin
)

// Check is one question of permission.
type Check struct {
	Kind     Kind
	Key, End string
}

// Exec is the entry that is being applied.
type Exec struct {
	Index   uint64
	Type    string
	User    string
	Request *pb.InternalRaftRequest

	store  auth.AuthStore
	lessor lease.Lessor
}

// leaseOf is the lease that a key is attached to, 0 for none.
func (x *Exec) leaseOf(key string) int64 {
	return int64(x.lessor.GetLease(lease.LeaseItem{Key: key}))
}

// Root tells whether the entry's user may do everything.
func (x *Exec) Root() bool { return x.store.HasRole(x.User, "root") }

// AuthEnabled tells whether auth is on.
func (x *Exec) AuthEnabled() bool { return x.store.IsAuthEnabled() }

// Today is etcd 3.7.
func Today() Rules { return Rules{Name: "etcd 3.7"} }

// With adds rules.
func (r Rules) With(more ...*Rule) Rules {
	r.Rules = slices.Concat(r.Rules, more)
	names := []string{"etcd 3.7"}
	for _, x := range r.Rules {
		names = append(names, x.Name)
	}
	r.Name = strings.Join(names, ", ")
	return r
}

func (r Rules) sequence(entries []effect.Entry) []effect.Entry {
	for _, x := range r.Rules {
		if x.Sequence != nil {
			entries = x.Sequence(entries)
		}
	}
	return entries
}

// RevokeUnasked is 3.2: leases are revoked, and attached to, without asking for permission on their keys.
func RevokeUnasked() *Rule {
	return &Rule{
		Name: "a lease is revoked without asking who wants it (3.2)",
		Permit: func(x *Exec, c Check, err error) error {
			if c.Kind == Admin && (x.Request.LeaseRevoke != nil || x.Request.Put != nil || x.Request.Txn != nil) {
				return nil
			}
			return err
		},
	}
}

// LeasePutUnasked is the half of RevokeUnasked that is about putting keys.
func LeasePutUnasked() *Rule {
	return &Rule{
		Name: "a key may be put with any lease, whatever else is attached to it (3.2)",
		Permit: func(x *Exec, c Check, err error) error {
			if c.Kind == Admin && (x.Request.Put != nil || x.Request.Txn != nil) {
				return nil
			}
			return err
		},
	}
}

// LeaseKeysAlwaysAsked is from 3.3 up to 3.4.26 and 3.5.9: root is asked for every key of a lease, too, which compares auth
// revisions. Nobody was asked then for the lease of a put in a transaction.
func LeaseKeysAlwaysAsked() *Rule {
	return &Rule{
		Name: "the auth revision of root's lease requests is compared, too (before 3.4.27 and 3.5.10)",
		Permit: func(x *Exec, c Check, err error) error {
			if c.Kind == Admin && x.AuthEnabled() && (x.Request.LeaseRevoke != nil || x.Request.Put != nil) {
				return auth.ErrPermissionDenied // makes the caller ask for each key
			}
			return err
		},
	}
}

// Older are the rules of versions that ask for other permissions than etcd 3.7. Their order matters: what a later one says of an administrator holds.
func Older(p authz.Rules, own func(x *Exec) bool) (rules []*Rule) {
	if p.ReadsDropped {
		rules = append(rules, RangesStripped(own))
	}
	for _, r := range []struct {
		holds bool
		rule  func() *Rule
	}{
		{p.RootAsked, LeaseKeysAlwaysAsked}, {p.NestedUnasked, NestedUnchecked}, {p.TxnPutsByKey, TxnPutUnchecked}, {p.LeasesUnasked, RevokeUnasked},
	} {
		if r.holds {
			rules = append(rules, r.rule())
		}
	}
	return rules
}

// Omit leaves entries out.
func Omit(indexes ...uint64) *Rule {
	return &Rule{
		Name:    fmt.Sprintf("%s left out", entriesText(indexes)),
		Request: func(x *Exec) bool { return !slices.Contains(indexes, x.Index) },
	}
}

// OmitRange leaves the entries from first to last out.
func OmitRange(first, last uint64) *Rule {
	return &Rule{
		Name:    fmt.Sprintf("entries %d to %d left out", first, last),
		Request: func(x *Exec) bool { return x.Index < first || x.Index > last },
	}
}

// Repeat applies the entries first to last so many times more, as a restart does that begins too early.
func Repeat(first, last uint64, times int) *Rule { return RepeatKind(first, last, times, "", nil) }

// RepeatKind applies those of the entries first to last again that want accepts, all if it is nil.
func RepeatKind(first, last uint64, times int, kind string, want func(e *effect.Entry) bool) *Rule {
	if kind != "" {
		kind = " " + kind
	}
	return &Rule{
		Name: fmt.Sprintf("the%s entries %d to %d applied %d times", kind, first, last, times+1),
		Sequence: func(entries []effect.Entry) (out []effect.Entry) {
			var again []effect.Entry
			seen, due := uint64(0), false
			repeat := func() {
				for range times {
					out = append(out, again...)
				}
				due = false
			}
			for _, e := range entries {
				if e.Index > seen { // others were repeated by another rule, which comes first
					if due {
						repeat()
					}
					if seen = e.Index; first <= e.Index && e.Index <= last && (want == nil || want(&e)) {
						again = append(again, e)
					}
					due = e.Index == last
				}
				out = append(out, e)
			}
			if due {
				repeat()
			}
			return out
		},
	}
}

// Denied refuses the users that who names, all but root if it is nil, from entry first to last, or until an entry
// changes users or roles: a member whose permission cache does not know them.
func Denied(who []string, first, last uint64) *Rule {
	name := "users without the role root are refused"
	if who != nil {
		name = fmt.Sprintf("requests of %s are refused", strings.Join(who, ", "))
	}
	filled := false
	return &Rule{
		Name:  fmt.Sprintf("%s from entry %d on, until users or roles change", name, first),
		Begin: func() { filled = false },
		Permit: func(x *Exec, c Check, err error) error {
			if err != nil || c.Kind == Admin || !x.AuthEnabled() || x.Index < first || x.Index > last || filled || x.Root() ||
				who != nil && !slices.Contains(who, x.User) {
				return err
			}
			return auth.ErrPermissionDenied
		},
		After: func(x *Exec, _ error, authChanged bool) {
			filled = filled || x.Index >= first && authChanged
		},
	}
}

// RepeatedGrantsIgnored leaves out grants of a permission that the role has already. The servers whose source was read
// (3.3.27, 3.5.21, 3.7.3) count them.
func RepeatedGrantsIgnored() *Rule {
	return &Rule{
		Name: "granting a permission again does not raise the auth revision",
		Request: func(x *Exec) bool {
			g := x.Request.AuthRoleGrantPermission
			if g == nil || g.Perm == nil {
				return true
			}
			role, err := x.store.RoleGet(&pb.AuthRoleGetRequest{Role: g.Name})
			return err != nil || !slices.ContainsFunc(role.Perm, func(p *authpb.Permission) bool {
				return p.PermType == g.Perm.PermType && bytes.Equal(p.Key, g.Perm.Key) && bytes.Equal(p.RangeEnd, g.Perm.RangeEnd)
			})
		},
	}
}

// NestedUnchecked is before 3.4.42, 3.5.28 and 3.6.9: permissions are asked for the outermost operations only.
func NestedUnchecked() *Rule {
	return &Rule{
		Name: "operations in a nested transaction are not checked for permission (before 3.4.42, 3.5.28, 3.6.9)",
		Permit: func(x *Exec, c Check, err error) error {
			if err == nil || x.Request.Txn == nil || c.Kind == Admin || outermost(x, c) {
				return err
			}
			return nil
		},
	}
}

// outermost tells whether an operation or compare of the outermost transaction makes a check necessary, also that of the keys of a lease.
func outermost(x *Exec, c Check) bool {
	t := x.Request.Txn
	for _, cmp := range t.Compare {
		if c.Kind == Read && c.Key == string(cmp.Key) && c.End == string(cmp.RangeEnd) {
			return true
		}
	}
	for _, ops := range [][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range ops {
			r, p, d := op.GetRequestRange(), op.GetRequestPut(), op.GetRequestDeleteRange()
			switch {
			case r != nil && c.Kind == Read && c.Key == string(r.Key) && c.End == string(r.RangeEnd),
				p != nil && c.Kind == Write && (c.Key == string(p.Key) || p.Lease != 0 && x.leaseOf(c.Key) == p.Lease),
				p != nil && p.PrevKv && c.Kind == Read && c.Key == string(p.Key) && c.End == "",
				d != nil && c.Kind == Delete && c.Key == string(d.Key) && c.End == string(d.RangeEnd),
				d != nil && d.PrevKv && c.Kind == Read && c.Key == string(d.Key) && c.End == string(d.RangeEnd):
				return true
			}
		}
	}
	return false
}

// TxnPutUnchecked is before 3.4.44, 3.5.30 and 3.6.11: a put in a transaction is checked for its key alone, not for
// reading the previous value or for the other keys of its lease.
func TxnPutUnchecked() *Rule {
	return &Rule{
		Name: "a put in a transaction is checked for its key alone (before 3.4.44, 3.5.30, 3.6.11)",
		Permit: func(x *Exec, c Check, err error) error {
			switch {
			case x.Request.Txn == nil || err == nil:
				return err
			case c.Kind == Admin:
				return nil
			case c.Kind == Read && c.End == "" && !reads(x.Request.Txn, c.Key):
				return nil
			}
			return err
		},
	}
}

// reads tells whether a transaction reads a single key otherwise than as the previous value of a put.
func reads(t *pb.TxnRequest, key string) bool {
	for _, c := range t.Compare {
		if string(c.Key) == key && len(c.RangeEnd) == 0 {
			return true
		}
	}
	for _, ops := range [][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range ops {
			r, d, n := op.GetRequestRange(), op.GetRequestDeleteRange(), op.GetRequestTxn()
			if r != nil && string(r.Key) == key && len(r.RangeEnd) == 0 || d != nil && d.PrevKv && string(d.Key) == key && len(d.RangeEnd) == 0 ||
				n != nil && reads(n, key) {
				return true
			}
		}
	}
	return false
}

// RangesStripped is up to 3.6: a member that did not propose a transaction drops the outermost reads from it, and with
// them the reasons to refuse it. Own tells which requests the member proposed itself.
func RangesStripped(own func(x *Exec) bool) *Rule {
	return &Rule{
		Name: "reads are dropped from transactions of other members (up to 3.6)",
		Request: func(x *Exec) bool {
			if t := x.Request.Txn; t != nil && (own == nil || !own(x)) {
				read := func(op *pb.RequestOp) bool { return op.GetRequestRange() != nil }
				t.Success, t.Failure = slices.DeleteFunc(t.Success, read), slices.DeleteFunc(t.Failure, read)
			}
			return true
		},
	}
}

// LeasesMissing hides leases from an entry on.
func LeasesMissing(what string, from uint64, hides func(id int64) bool) *Rule {
	granted := map[int64]bool{}
	return &Rule{
		Name:  fmt.Sprintf("%s are missing from entry %d on", what, from),
		Begin: func() { clear(granted) },
		HidesLease: func(x *Exec, id int64) bool {
			return x.Index >= from && !granted[id] && hides(id)
		},
		After: func(x *Exec, err error, _ bool) {
			if x.Request.LeaseGrant != nil && x.Index >= from {
				granted[x.Request.LeaseGrant.ID] = true
			}
		},
	}
}

// AnyTTL is before 3.2.17 and 3.3.2: leases of any length are granted.
func AnyTTL() *Rule {
	return &Rule{
		Name: "leases of any length are granted (before 3.2.17 and 3.3.2)",
		Request: func(x *Exec) bool {
			if g := x.Request.LeaseGrant; g != nil {
				g.TTL = min(g.TTL, lease.MaxLeaseTTL)
			}
			return true
		},
	}
}

// NestedPutsFree is before 3.5.33, 3.6.14 and 3.7.1: with the space alarm on, a transaction is let through if only
// nested operations of it put keys.
func NestedPutsFree() *Rule {
	return &Rule{
		Name: "puts in nested transactions are let through without space (before 3.5.33, 3.6.14, 3.7.1)",
		Uncapped: func(x *Exec) bool {
			t := x.Request.Txn
			if t == nil {
				return false
			}
			put := func(op *pb.RequestOp) bool { return op.GetRequestPut() != nil }
			return !slices.ContainsFunc(t.Success, put) && !slices.ContainsFunc(t.Failure, put)
		},
	}
}

// OldCompares is 3.2: a compare of a range looks at its first key alone, one of a lease holds always, and nested
// transactions are dropped.
func OldCompares() *Rule {
	return &Rule{
		Name: "compares and nested transactions that 3.3 introduced are not understood (3.2)",
		Request: func(x *Exec) bool {
			t := x.Request.Txn
			if t == nil {
				return true
			}
			t.Compare = slices.DeleteFunc(t.Compare, func(c *pb.Compare) bool {
				c.RangeEnd = nil
				if c.Target != pb.Compare_LEASE {
					return false
				}
				// A target that is not known is equal to anything.
				if c.Result != pb.Compare_EQUAL {
					c.Target, c.Result, c.TargetUnion = pb.Compare_VERSION, pb.Compare_EQUAL, &pb.Compare_Version{Version: -1}
				}
				return c.Target == pb.Compare_LEASE
			})
			nested := func(op *pb.RequestOp) bool { return op.GetRequestTxn() != nil }
			t.Success, t.Failure = slices.DeleteFunc(t.Success, nested), slices.DeleteFunc(t.Failure, nested)
			return true
		},
	}
}

// Cut runs only the first n writing operations of each branch of one transaction.
func Cut(index uint64, n int) *Rule {
	return &Rule{
		Name: fmt.Sprintf("entry %d stopped after %d of its operations", index, n),
		Request: func(x *Exec) bool {
			if t := x.Request.Txn; t != nil && x.Index == index {
				t.Success, t.Failure = cut(t.Success, n), cut(t.Failure, n)
			}
			return true
		},
	}
}

func cut(ops []*pb.RequestOp, n int) []*pb.RequestOp {
	for i, op := range ops {
		if op.GetRequestRange() != nil {
			continue
		}
		if n == 0 {
			return ops[:i]
		}
		n--
	}
	return ops
}

// Only is a rule that holds for the entries from first to last alone: a member was upgraded, or restarted. What changes
// the sequence of entries is not limited.
func Only(first, last uint64, r *Rule) *Rule {
	o := *r
	in := func(x *Exec) bool { return x.Index >= first && x.Index <= last }
	o.Name = fmt.Sprintf("%s, for entries %d to %d", r.Name, first, last)
	if r.Request != nil {
		o.Request = func(x *Exec) bool { return !in(x) || r.Request(x) }
	}
	if r.Permit != nil {
		o.Permit = func(x *Exec, c Check, err error) error {
			if !in(x) {
				return err
			}
			return r.Permit(x, c, err)
		}
	}
	if r.AuthRevision != nil {
		o.AuthRevision = func(x *Exec) uint64 {
			if !in(x) {
				return 0
			}
			return r.AuthRevision(x)
		}
	}
	if r.HidesLease != nil {
		o.HidesLease = func(x *Exec, id int64) bool { return in(x) && r.HidesLease(x, id) }
	}
	if r.Uncapped != nil {
		o.Uncapped = func(x *Exec) bool { return in(x) && r.Uncapped(x) }
	}
	return &o
}

// From limits rules to the entries from an index on.
func (r Rules) From(first uint64) Rules {
	rs := slices.Clone(r.Rules)
	for i := range rs {
		x := Only(first, math.MaxUint64, rs[i])
		x.Name = rs[i].Name
		rs[i] = x
	}
	r.Rules = rs
	return r
}

func entriesText(indexes []uint64) string {
	if len(indexes) == 1 {
		return fmt.Sprintf("entry %d", indexes[0])
	}
	return fmt.Sprintf("%d entries", len(indexes))
}

func newLease(id int64) *leasepb.Lease { return &leasepb.Lease{ID: id, TTL: placeholderTTL} }
