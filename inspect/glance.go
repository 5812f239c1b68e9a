package inspect

import (
	"strings"

	"etcd-autopsy/inspect/bolt"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// glance reads what tells where a member stands and no more: the meta pages, the small tables, the last row of the keyspace, and of the log
// the record that its first segment begins with. Nothing is checked that is not read.
func (m *Member) glance(ev *evidence.Member, opts Options) {
	m.Log = &raftlog.Log{}
	for _, f := range ev.WAL {
		for s := raftlog.NewScanner(raftlog.Source{Name: f.Name, Data: f.Bytes()}); s.Next(); {
			if meta, ok := s.Record().Metadata(); ok {
				m.Log.NodeID, m.Log.ClusterID, m.Log.HasMetadata = meta.NodeID, meta.ClusterID, true
				break
			}
			if s.Offset() > glanced {
				break
			}
		}
		if m.Log.HasMetadata {
			break
		}
	}
	if ev.DB == nil {
		m.Findings = append(m.Findings, m.noDB())
		return
	}
	meta := -1
	if opts.Meta != nil {
		meta = *opts.Meta
	}
	db, err := bolt.Open(ev.DB.Name, ev.DB.Bytes(), bolt.Options{Meta: meta})
	if err != nil {
		m.Findings = append(m.Findings, finding.New("db-unreadable", finding.Error, ev.DB.Name, "%s", strings.TrimPrefix(err.Error(), ev.DB.Name+": ")).Lost())
		return
	}
	for i, x := range db.Metas() {
		if !x.Valid {
			m.Findings = append(m.Findings, finding.New("meta-invalid", finding.Warning, ev.DB.Name,
				"meta page %d is not valid: %s; what is told may be the state one commit earlier", i, x.Problem).OnPage(uint64(i), finding.NoOffset))
		}
	}
	tables, found := schema.Read(ev.DB.Name, rowsOf(db))
	m.Findings = append(m.Findings, found...)
	m.DB = &DB{File: ev.DB, Bolt: db, Tables: tables, Rows: mvcc.NewTable(nil, nil)}
	b := db.Bucket(schema.Key)
	if m.DB.HasKeys = b != nil; b == nil {
		f, _ := m.noKeys(db)
		m.Findings = append(m.Findings, f)
		return
	}
	last := b.Last()
	for last.Prev() {
		if rev, tombstone, ok := mvcc.ParseRevision(last.Key()); ok && !last.IsBucket() {
			m.DB.Rows = mvcc.NewTable([]mvcc.Row{{Rev: rev, Tombstone: tombstone, Page: last.Page(), Value: last.Value()}}, nil)
			break
		}
	}
	for _, h := range last.Damage() {
		m.Findings = append(m.Findings, h.Why)
	}
}

// glanced is how many bytes of a segment are looked through for its metadata, which stand at its begin (server/storage/wal/wal.go, Create and cut).
const glanced = 1 << 20
