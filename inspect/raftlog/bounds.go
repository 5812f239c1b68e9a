package raftlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// maxTxnDepth is how many levels deep transactions may be nested. etcd lets no more through than --max-txn-ops, 128 unless set
// (server/etcdserver/api/v3rpc/key.go of 3.7, checkTxnRequest: each level counts at least once).
const maxTxnDepth = 1024

var errTxnTooDeep = fmt.Errorf("transactions are nested more than %d levels deep, which is not read (etcd lets 128 through, unless --max-txn-ops is set)", maxTxnDepth)

// tooDeep tells whether transactions are nested deeper than maxTxnDepth in an encoded TxnRequest. It calls itself for none of
// the levels.
func tooDeep(txn []byte) bool {
	// Transactions at odd places, counted from one, and operations in between: 2 success and 3 failure lead to operations, 4 of
	// these to a transaction.
	stack := []cursor{{b: txn}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		inTxn := len(stack)%2 == 1
		switch {
		case !top.next():
			stack = stack[:len(stack)-1]
		case inTxn && (top.num == 2 || top.num == 3) || !inTxn && top.num == 4:
			if body := top.bytes(); !top.bad {
				if stack = append(stack, cursor{b: body}); len(stack) > 2*maxTxnDepth {
					return true
				}
			}
		default:
			top.skip()
		}
	}
	return false
}

// Unrunnable tells whether nobody knows what applying the request does: it does not decode, is of a kind that etcd 3.7 does not know, or asks for
// nothing, or an operation of its transaction does (server/etcdserver/txn/txn.go, executeTxn, panics).
func (r *Request) Unrunnable() bool {
	return r.Type == "Unknown" || r.Internal.GetTxn() != nil && AsksNothing(r.Internal.Txn)
}

// AsksNothing tells whether some operation of a transaction does (server/etcdserver/api/v3rpc/key.go of 3.7, checkRequestOp, refuses it).
func AsksNothing(t *pb.TxnRequest) bool {
	return slices.ContainsFunc(slices.Concat(t.Success, t.Failure), func(op *pb.RequestOp) bool {
		return op.GetRequest() == nil || op.GetRequestTxn() != nil && AsksNothing(op.GetRequestTxn())
	})
}

var errNothing = errors.New("it asks for nothing")

// unset says which part of a request is missing that etcd's API demands, or its servers set.
func (r *Request) unset() string {
	var err error
	switch in := r.Internal; {
	case r.ConfChange != nil:
		err = r.ConfChange.unset()
	case r.V2 != nil && r.V2.Method == "":
		err = errors.New("it has no method")
	case in == nil || len(r.Unknown) > 0:
	case r.Type == "Unknown":
		err = errNothing
	case in.Put != nil && len(in.Put.Key) == 0:
		err = errNoKey
	case in.DeleteRange != nil && len(in.DeleteRange.Key) == 0:
		err = errNoKey
	case in.Range != nil && len(in.Range.Key) == 0:
		err = errNoKey
	case in.Txn != nil:
		err = unsetTxn(in.Txn)
	case in.AuthRoleGrantPermission != nil && in.AuthRoleGrantPermission.Perm == nil:
		err = errors.New("it names no permission")
	case in.ClusterMemberAttrSet != nil && in.ClusterMemberAttrSet.MemberAttributes == nil:
		err = errors.New("it holds no attributes")
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

var errNoKey = errors.New("its key is empty")

func unsetTxn(txn *pb.TxnRequest) error {
	for i, c := range txn.Compare {
		if len(c.GetKey()) == 0 {
			return fmt.Errorf("compare %d: %w", i+1, errNoKey)
		}
	}
	for i, branch := range [][]*pb.RequestOp{txn.Success, txn.Failure} {
		for j, op := range branch {
			if err := unsetOp(op); err != nil {
				return fmt.Errorf("operation %d of the %s branch: %w", j+1, [...]string{"then", "else"}[i], err)
			}
		}
	}
	return nil
}

func unsetOp(op *pb.RequestOp) error {
	var key []byte
	switch o := op.GetRequest().(type) {
	case *pb.RequestOp_RequestPut:
		key = o.RequestPut.GetKey()
	case *pb.RequestOp_RequestDeleteRange:
		key = o.RequestDeleteRange.GetKey()
	case *pb.RequestOp_RequestRange:
		key = o.RequestRange.GetKey()
	case *pb.RequestOp_RequestTxn:
		return unsetTxn(o.RequestTxn)
	default:
		return errNothing
	}
	if len(key) == 0 {
		return errNoKey
	}
	return nil
}

func (cc *ConfChange) unset() error {
	if len(cc.Changes) == 0 {
		return errNothing
	}
	for _, c := range cc.Changes {
		if cc.Member == nil && (strings.HasPrefix(c.Type, "Add") || c.Type == "UpdateNode") {
			return errors.New("it describes no member")
		}
	}
	return nil
}
