package attach

import (
	"net/url"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/messages"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// Secrets are the words of the evidence that a redacted report must not hold: keys, names of users, roles and members,
// urls.
type Secrets struct{ words []string }

// Collect finds them. Values need no list: nothing shows them.
func Collect(ms []*inspect.Member) *Secrets {
	s := &Secrets{}
	for _, m := range ms {
		s.add(m.Label, m.Name())
		if m.DB != nil {
			for _, r := range m.DB.Rows.All() {
				s.key(r.Key())
			}
			s.tables(m.DB.Tables)
		}
		for i := range m.Log.Entries {
			if r, err := raftlog.Decode(&m.Log.Entries[i]); err == nil || r != nil {
				s.request(r)
			}
		}
		for _, snap := range m.Snaps {
			if ms, err := snap.Membership(); err == nil {
				s.add(ms.V2Keys...)
				for _, x := range ms.Members {
					s.member(x.Name, x.PeerURLs, x.ClientURLs)
				}
			}
		}
		s.compact()
	}
	return s
}

// Logs adds what the logs of servers name: their files, and what stands in the place of a release and is none.
func (s *Secrets) Logs(logs []story.Log) {
	for _, l := range logs {
		s.add(l.File, l.Name)
		for _, p := range l.Processes {
			for _, q := range messages.Apart(p.Version) {
				if q.Quoted {
					s.add(q.Text)
				}
			}
		}
	}
	s.compact()
}

func (s *Secrets) add(words ...string) { s.words = append(s.words, words...) }

func (s *Secrets) key(k []byte) {
	if len(k) > 0 {
		s.words = append(s.words, string(k))
	}
}

func (s *Secrets) compact() {
	slices.Sort(s.words)
	s.words = slices.Compact(s.words)
}

func (s *Secrets) member(name string, urls ...[]string) {
	s.add(name)
	for _, u := range slices.Concat(urls...) {
		s.add(u)
		if x, err := url.Parse(u); err == nil {
			s.add(x.Host, x.Hostname())
		}
	}
}

func (s *Secrets) tables(t *schema.Tables) {
	s.version(t.ClusterVersion, t.StorageVersion)
	if t.Downgrade != nil {
		s.version(t.Downgrade.TargetVersion)
	}
	for _, m := range t.Members {
		s.member(m.Name, m.PeerURLs, m.ClientURLs)
	}
	for _, u := range t.Users {
		s.add(u.Name)
		s.add(u.Roles...)
	}
	for _, r := range t.Roles {
		s.add(r.Name)
		for _, p := range r.Permissions {
			s.add(p.Key, p.RangeEnd)
		}
	}
}

func (s *Secrets) request(r *raftlog.Request) {
	s.add(r.User)
	if v := r.V2; v != nil {
		s.add(v.Path, v.Val)
	}
	if c := r.ConfChange; c != nil && c.Member != nil {
		s.member(c.Member.Name, c.Member.PeerURLs, c.Member.ClientURLs)
	}
	in := r.Internal
	if in == nil {
		return
	}
	// An altered request may hold several at once.
	s.key(in.Range.GetKey())
	s.key(in.Range.GetRangeEnd())
	s.key(in.Put.GetKey())
	s.key(in.DeleteRange.GetKey())
	s.key(in.DeleteRange.GetRangeEnd())
	if in.Txn != nil {
		s.txn(in.Txn)
	}
	if a := in.ClusterMemberAttrSet.GetMemberAttributes(); a != nil {
		s.member(a.GetName(), a.GetClientUrls())
	}
	s.version(in.ClusterVersionSet.GetVer(), in.DowngradeInfoSet.GetVer(), in.DowngradeVersionTest.GetVer())
	s.auth(in)
}

// version adds what stands in the place of a version and is none.
func (s *Secrets) version(all ...string) {
	for _, v := range all {
		if !version.MatchString(v) {
			s.add(v)
		}
	}
}

func (s *Secrets) txn(t *pb.TxnRequest) {
	for _, c := range t.Compare {
		s.key(c.Key)
		s.key(c.RangeEnd)
	}
	for _, op := range slices.Concat(t.Success, t.Failure) {
		switch {
		case op.GetRequestRange() != nil:
			s.key(op.GetRequestRange().Key)
			s.key(op.GetRequestRange().RangeEnd)
		case op.GetRequestPut() != nil:
			s.key(op.GetRequestPut().Key)
		case op.GetRequestDeleteRange() != nil:
			s.key(op.GetRequestDeleteRange().Key)
			s.key(op.GetRequestDeleteRange().RangeEnd)
		case op.GetRequestTxn() != nil:
			s.txn(op.GetRequestTxn())
		}
	}
}

func (s *Secrets) auth(in *pb.InternalRaftRequest) {
	s.add(in.Authenticate.GetName(), in.AuthUserAdd.GetName(), in.AuthUserDelete.GetName(), in.AuthUserGet.GetName(), in.AuthUserChangePassword.GetName(),
		in.AuthUserGrantRole.GetUser(), in.AuthUserGrantRole.GetRole(), in.AuthUserRevokeRole.GetName(), in.AuthUserRevokeRole.GetRole(),
		in.AuthRoleAdd.GetName(), in.AuthRoleDelete.GetRole(), in.AuthRoleGet.GetRole(),
		in.AuthRoleGrantPermission.GetName(), in.AuthRoleRevokePermission.GetRole())
	if p := in.AuthRoleGrantPermission.GetPerm(); p != nil {
		s.key(p.Key)
		s.key(p.RangeEnd)
	}
	s.key(in.AuthRoleRevokePermission.GetKey())
	s.key(in.AuthRoleRevokePermission.GetRangeEnd())
}
