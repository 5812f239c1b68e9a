package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	bbolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/report"
)

var parityAll = flag.Bool("parity.all", false, "compare every member of every scenario with etcd's own packages, not one of each")

// TestParity compares dump, log and hash with what etcd's own packages and bbolt, of which etcd-dump-db, etcd-dump-logs,
// etcdutl and bbolt are made, read from private copies of the sound files in testdata: of one member of each scenario, that
// which diverged if there is one, and with -parity.all of all of them.
func TestParity(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[[sha256.Size]byte]bool{} // many scenarios share members
	dbs, logs := 0, 0
	first := func(count *int, parts ...[]byte) bool {
		h := sha256.New()
		for _, p := range parts {
			h.Write(p)
		}
		sum := [sha256.Size]byte(h.Sum(nil))
		mu.Lock()
		defer mu.Unlock()
		if seen[sum] {
			return false
		}
		seen[sum] = true
		*count++
		return true
	}
	t.Run("members", func(t *testing.T) {
		for _, name := range scenarioNames(t) {
			if testing.Short() && !strings.HasPrefix(name, "healthy-") {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for _, m := range parityMembers(t, name) {
					// What is damaged makes bbolt and etcd panic, or refuse the whole file.
					if m.DB != nil && m.DB.Whole && m.DB.Bolt.Metas()[0].Valid && m.DB.Bolt.Metas()[1].Valid && first(&dbs, m.DB.File.Bytes()) {
						path := filepath.Join(t.TempDir(), "db")
						if err := os.WriteFile(path, m.DB.File.Bytes(), 0o600); err != nil {
							t.Fatal(err)
						}
						sameDump(t, m, path)
						sameHashes(t, m, path)
					}
					var files [][]byte
					for _, s := range m.Segments() {
						files = append(files, records(m, &s))
					}
					if ok, _ := m.Complete(); ok && len(files) > 0 && first(&logs, files...) {
						sameRecords(t, m)
						sameLog(t, m)
					}
				}
			})
		}
	})
	if !testing.Short() && (dbs < 30 || logs < 30) {
		t.Errorf("only %d databases and %d logs were compared", dbs, logs)
	}
	t.Logf("%d databases and %d logs", dbs, logs)
}

// parityMembers are the members of a scenario to compare.
func parityMembers(t *testing.T, name string) []*inspect.Member {
	t.Helper()
	ms := scenarioMembers(t, name)
	if *parityAll {
		return ms
	}
	for _, odd := range readDamage(t, name).Odd {
		if i := slices.IndexFunc(ms, func(m *inspect.Member) bool { return m.Label == odd }); i >= 0 {
			return ms[i : i+1]
		}
	}
	return ms[:1]
}

// records is a segment without the zeros behind its last record.
func records(m *inspect.Member, src *raftlog.Source) []byte {
	for i := range m.Log.Segments {
		if s := &m.Log.Segments[i]; s.Name == src.Name {
			return src.Data[:min(int64(len(src.Data)), (s.EndOffset/512+1)*512)]
		}
	}
	return nil
}

// lines decodes the objects of a stream, without those about the whole.
func lines(t *testing.T, out []byte, f func(doc map[string]any)) {
	t.Helper()
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.UseNumber()
		var doc map[string]any
		if err := d.Decode(&doc); err != nil {
			t.Fatalf("not one JSON object a line: %v: %.200s", err, sc.Text())
		}
		if _, ok := doc["unreadable"]; !ok {
			f(doc)
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
}

// sameDump compares every row with what bbolt and etcd's types make of it.
func sameDump(t *testing.T, m *inspect.Member, path string) {
	t.Helper()
	var out bytes.Buffer
	if err := report.Dump(t.Context(), &out, m, report.DumpOptions{Values: true}, report.JSON); err != nil {
		t.Fatal(err)
	}
	var got []string
	lines(t, out.Bytes(), func(doc map[string]any) { got = append(got, rowText(doc)) })

	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var want []string
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				s, secret := etcdRow(string(name), k, v)
				if want = append(want, s); secret != "" && bytes.Contains(out.Bytes(), []byte(secret)) {
					t.Errorf("%s: the password hash of %q is shown", m.Origin, k)
				}
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("%s: dump differs (-bbolt and etcd +got):\n%.2000s", m.Origin, d)
	}
}

// rowText is a dumped row in the words of etcdRow.
func rowText(doc map[string]any) string {
	bucket := fmt.Sprint(doc["bucket"])
	key := named(doc, "key")
	sub := func(name string) map[string]any { m, _ := doc[name].(map[string]any); return m }
	switch bucket {
	case "key":
		return fmt.Sprintf("key %v/%v %v %q %v %v %v %v %q", doc["revision"], doc["sub"], doc["tombstone"], key, doc["create_revision"], doc["mod_revision"], doc["version"], doc["lease"], named(doc, "value"))
	case "lease":
		l := sub("lease")
		return fmt.Sprintf("lease %v %v %v", l["id"], l["ttl"], l["remaining_ttl"])
	case "alarm":
		return fmt.Sprintf("alarm %v %v", sub("alarm")["member"], sub("alarm")["type"])
	case "authUsers":
		u := sub("user")
		return fmt.Sprintf("authUsers %q %v %v %v", key, u["roles"], u["no_password"], u["has_password"])
	case "authRoles":
		s := fmt.Sprintf("authRoles %q", key)
		for _, p := range sub("role")["permissions"].([]any) {
			p := p.(map[string]any)
			s += fmt.Sprintf(" %v %q %q", p["type"], named(p, "key"), named(p, "range_end"))
		}
		return s
	case "members":
		x := sub("member")
		return fmt.Sprintf("members %s %v %v %v %v %v", key, x["id"], x["name"], x["peer_urls"], x["client_urls"], x["learner"])
	case "members_removed":
		return fmt.Sprintf("members_removed %s %v", key, doc["removed_member"])
	}
	for _, name := range []string{"number", "compact_revision", "enabled", "version", "value_hex"} {
		if v, ok := doc[name]; ok {
			return fmt.Sprintf("%s %q %v", bucket, key, v)
		}
	}
	if d := sub("downgrade"); d != nil {
		return fmt.Sprintf("%s %q %v %v", bucket, key, d["target-version"], d["enabled"])
	}
	c := sub("conf_state")
	return fmt.Sprintf("%s %q %v %v %v %v %v", bucket, key, c["voters"], c["learners"], c["voters_outgoing"], c["learners_next"], c["auto_leave"])
}

// named is a field that is text, or base64.
func named(doc map[string]any, name string) string {
	if s, ok := doc[name+"_base64"].(string); ok {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	s, _ := doc[name].(string)
	return s
}

// etcdRow is what etcd's own types say of a row, and its password hash.
func etcdRow(bucket string, k, v []byte) (text, secret string) {
	switch bucket {
	case "key":
		rev := mvcc.BytesToBucketKey(k)
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(v, &kv); err != nil {
			return err.Error(), ""
		}
		return fmt.Sprintf("key %d/%d %v %q %d %d %d %016x %q", rev.Main, rev.Sub, mvcc.IsTombstone(k), kv.Key, kv.CreateRevision, kv.ModRevision, kv.Version, uint64(kv.Lease), kv.Value), ""
	case "lease":
		var l leasepb.Lease
		if err := proto.Unmarshal(v, &l); err != nil {
			return err.Error(), ""
		}
		return fmt.Sprintf("lease %016x %d %d", binary.BigEndian.Uint64(k), l.TTL, l.RemainingTTL), ""
	case "alarm":
		var a pb.AlarmMember
		if err := proto.Unmarshal(k, &a); err != nil {
			return err.Error(), ""
		}
		return fmt.Sprintf("alarm %016x %v", a.MemberID, a.Alarm), ""
	case "authUsers":
		var u authpb.User
		if err := proto.Unmarshal(v, &u); err != nil {
			return err.Error(), ""
		}
		return fmt.Sprintf("authUsers %q %v %v %v", k, u.Roles, u.GetOptions().GetNoPassword(), len(u.Password) > 0), string(u.Password)
	case "authRoles":
		var r authpb.Role
		if err := proto.Unmarshal(v, &r); err != nil {
			return err.Error(), ""
		}
		s := fmt.Sprintf("authRoles %q", k)
		for _, p := range r.KeyPermission {
			s += fmt.Sprintf(" %v %q %q", p.PermType, p.Key, p.RangeEnd)
		}
		return s, ""
	case "members":
		var x struct {
			ID         uint64   `json:"id"`
			Name       string   `json:"name"`
			PeerURLs   []string `json:"peerURLs"`
			ClientURLs []string `json:"clientURLs"`
			IsLearner  bool     `json:"isLearner"`
		}
		if err := json.Unmarshal(v, &x); err != nil {
			return err.Error(), ""
		}
		return fmt.Sprintf("members %s %016x %v %v %v %v", k, x.ID, x.Name, x.PeerURLs, x.ClientURLs, x.IsLearner), ""
	case "members_removed":
		id, err := strconv.ParseUint(string(k), 16, 64)
		return fmt.Sprintf("members_removed %s %016x", k, id), fmt.Sprint(err)
	}
	s := fmt.Sprintf("%s %q ", bucket, k)
	switch string(k) {
	case "consistent_index", "term", "authRevision":
		return s + strconv.FormatUint(binary.BigEndian.Uint64(v), 10), ""
	case "scheduledCompactRev", "finishedCompactRev":
		rev := mvcc.BytesToRev(v)
		return s + fmt.Sprintf("%d/%d", rev.Main, rev.Sub), ""
	case "authEnabled":
		return s + strconv.FormatBool(v[0] == 1), ""
	case "confState":
		var cs raftpb.ConfState
		if err := json.Unmarshal(v, &cs); err != nil {
			return err.Error(), ""
		}
		ids := func(list []uint64) []string {
			var out []string
			for _, id := range list {
				out = append(out, fmt.Sprintf("%016x", id))
			}
			return out
		}
		return s + fmt.Sprintf("%v %v %v %v %v", ids(cs.Voters), ids(cs.Learners), ids(cs.VotersOutgoing), ids(cs.LearnersNext), cs.GetAutoLeave()), ""
	case "downgrade":
		var d struct {
			Target  string `json:"target-version"`
			Enabled bool   `json:"enabled"`
		}
		if err := json.Unmarshal(v, &d); err != nil {
			return err.Error(), ""
		}
		return s + fmt.Sprintf("%v %v", d.Target, d.Enabled), ""
	case "storageVersion", "clusterVersion":
		return s + string(v), ""
	}
	return s + hex.EncodeToString(v), ""
}

// sameHashes compares the hashes with those of etcdutl snapshot status, of etcd-dump-db hash, and of a store that is opened
// on the copy, as etcdutl hashkv does.
func sameHashes(t *testing.T, m *inspect.Member, path string) {
	t.Helper()
	d := diff.Hashes([]*inspect.Member{m}, 0)
	got := d.Members[0]
	st, err := snapshot.NewV3(zap.NewNop()).Status(path)
	if err != nil {
		t.Fatal(err)
	}
	want := diff.HashStatus{
		Hash: st.Hash, HashHex: fmt.Sprintf("%x", st.Hash), Revision: st.Revision, TotalKeys: st.TotalKey, TotalSize: st.TotalSize,
		Version: st.Version, TotalRows: got.Status.TotalRows,
	}
	cfg := backend.DefaultBackendConfig(zap.NewNop())
	cfg.Path = path
	be := backend.New(cfg)
	defer be.Close()
	if want.BackendHash, err = be.Hash(schema.DefaultIgnores); err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(want, *got.Status); d != "" {
		t.Errorf("%s: status (-etcd +got):\n%s", m.Origin, d)
	}
	kv := mvcc.NewStore(zap.NewNop(), be, &lease.FakeLessor{}, mvcc.StoreConfig{})
	defer kv.Close()
	for _, rev := range []int64{got.Revision, (got.Revision + got.CompactRevision) / 2} {
		want, _, err := kv.HashStorage().HashByRev(rev)
		if err != nil {
			t.Fatal(err)
		}
		hash := got.HashKV
		if rev != got.HashRevision {
			hash = m.DB.Rows.HashKV(rev, got.CompactRevision)
		}
		if hash != want.Hash || got.CompactRevision != max(want.CompactRevision, 0) {
			t.Errorf("%s: hashKV at revision %d, compacted at %d: %d, etcd says %d at %d", m.Origin, rev, got.CompactRevision, hash, want.Hash, want.CompactRevision)
		}
	}
}

// walFiles writes a copy of a member's log without the zeros behind the last record.
func walFiles(t *testing.T, m *inspect.Member) (files []string) {
	t.Helper()
	dir := t.TempDir()
	for _, s := range m.Segments() {
		if !strings.HasSuffix(s.Name, ".wal") {
			continue
		}
		file := filepath.Join(dir, filepath.Base(s.Name))
		if err := os.WriteFile(file, records(m, &s), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	slices.Sort(files)
	return files
}

// sameRecords compares log --raw with etcd's decoder, which etcd-dump-logs -raw uses.
func sameRecords(t *testing.T, m *inspect.Member) {
	t.Helper()
	var out bytes.Buffer
	if err := report.RawLog(t.Context(), &out, []*inspect.Member{m}, report.LogOptions{}, report.JSON); err != nil {
		t.Fatal(err)
	}
	var got []string
	ends := map[string]int64{}
	lines(t, out.Bytes(), func(doc map[string]any) {
		offset, _ := doc["offset"].(json.Number).Int64()
		length, _ := doc["length"].(json.Number).Int64()
		file := fmt.Sprint(doc["file"])
		if offset != ends[file] {
			t.Errorf("%s: %s: a record at offset %d, the one before it ends at %d", m.Origin, file, offset, ends[file])
		}
		if ends[file] = offset + length; doc["type"] == "zeros" || doc["crc_state"] != "ok" {
			return
		}
		s := fmt.Sprintf("%v %v", doc["type"], doc["crc"])
		if e, ok := doc["entry"].(map[string]any); ok {
			s += fmt.Sprintf(" %v %v %v", e["index"], e["term"], e["size"])
		}
		if h, ok := doc["hard_state"].(map[string]any); ok {
			s += fmt.Sprintf(" %v %v %v", h["term"], h["vote"], h["commit"])
		}
		if x, ok := doc["snapshot"].(map[string]any); ok {
			s += fmt.Sprintf(" %v %v", x["index"], x["term"])
		}
		if x, ok := doc["metadata"].(map[string]any); ok {
			s += fmt.Sprintf(" %v %v", x["member_id"], x["cluster_id"])
		}
		got = append(got, s)
	})
	for _, s := range m.Segments() {
		if ends[s.Name] != int64(len(s.Data)) && strings.HasSuffix(s.Name, ".wal") {
			t.Errorf("%s: %s: records end at %d of %d bytes", m.Origin, s.Name, ends[s.Name], len(s.Data))
		}
	}

	files := walFiles(t, m)
	var readers []fileutil.FileReader
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		readers = append(readers, fileutil.NewFileReader(f))
	}
	var want []string
	dec := wal.NewDecoder(readers...)
	for {
		var r walpb.Record
		if err := dec.Decode(&r); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		} else if err != nil && !errors.Is(err, walpb.ErrCRCMismatch) && len(want) > 0 {
			t.Fatal(err)
		}
		typ := [...]string{"", "metadata", "entry", "state", "crc", "snapshot"}[r.GetType()]
		s := fmt.Sprintf("%s %08x", typ, r.GetCrc())
		switch r.GetType() {
		case wal.EntryType:
			e := wal.MustUnmarshalEntry(r.Data)
			s += fmt.Sprintf(" %d %d %d", e.GetIndex(), e.GetTerm(), len(e.Data))
		case wal.StateType:
			h := wal.MustUnmarshalState(r.Data)
			s += fmt.Sprintf(" %d %016x %d", h.GetTerm(), h.GetVote(), h.GetCommit())
		case wal.SnapshotType:
			var x walpb.Snapshot
			if err := proto.Unmarshal(r.Data, &x); err != nil {
				t.Fatal(err)
			}
			s += fmt.Sprintf(" %d %d", x.GetIndex(), x.GetTerm())
		case wal.MetadataType:
			var x pb.Metadata
			if err := proto.Unmarshal(r.Data, &x); err != nil {
				t.Fatal(err)
			}
			s += fmt.Sprintf(" %016x %016x", x.GetNodeID(), x.GetClusterID())
		case wal.CrcType:
			dec.UpdateCRC(r.GetCrc())
		}
		want = append(want, s)
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("%s: records (-etcd +got):\n%.2000s", m.Origin, d)
	}
}

// sameLog compares every entry with what etcd's types make of it, and looks for passwords.
func sameLog(t *testing.T, m *inspect.Member) {
	t.Helper()
	var out bytes.Buffer
	if err := report.Entries(t.Context(), &out, diff.NewLedger([]*inspect.Member{m}), report.LogOptions{Values: true}, report.JSON); err != nil {
		t.Fatal(err)
	}
	entries := slices.Clone(m.Log.Entries)
	secrets := map[string]bool{}
	n := 0
	lines(t, out.Bytes(), func(doc map[string]any) {
		if _, ok := doc["index"]; !ok {
			h := m.Log.HardState
			if want, got := fmt.Sprintf("%d %d %016x %d", h.Term, h.Commit, h.Vote, len(entries)), fmt.Sprintf("%v %v %v %v", doc["term"], doc["commit"], doc["vote"], doc["entries"]); want != got {
				t.Errorf("%s: member line says %s, want %s", m.Origin, got, want)
			}
			return
		}
		e := entries[n]
		if n++; fmt.Sprintf("%v %v", doc["index"], doc["term"]) != fmt.Sprintf("%d %d", e.Index, e.Term) {
			t.Fatalf("%s: entry %v, term %v, want %d, %d", m.Origin, doc["index"], doc["term"], e.Index, e.Term)
		}
		var in pb.InternalRaftRequest
		if e.Type != 0 || len(e.Data) == 0 || doc["type"] == "V2Request" || proto.Unmarshal(e.Data, &in) != nil {
			return
		}
		for _, p := range secretsOf(&in) {
			if *p != "" {
				secrets[*p] = true
				*p = ""
			}
		}
		user := ""
		if h := in.Header; h != nil {
			user = h.Username
		}
		if doc["user"] != user {
			t.Errorf("%s: entry %d: user %v, etcd says %s", m.Origin, e.Index, doc["user"], user)
		}
		in.Header, in.ID = nil, 0
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(&in)
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		request, _ := doc["request"].(map[string]any)
		if why := holds(request, want); why != "" {
			t.Errorf("%s: entry %d: %s: request %v, etcd says %s", m.Origin, e.Index, why, request, text)
		}
	})
	if n != len(entries) {
		t.Errorf("%s: %d entries, want %d", m.Origin, n, len(entries))
	}
	for s := range secrets {
		if len(s) > 3 && bytes.Contains(out.Bytes(), []byte(s)) {
			t.Errorf("%s: a password is shown", m.Origin)
		}
	}
}

// secretsOf are the fields of a request that hold passwords, hashes of them, or tokens.
func secretsOf(in *pb.InternalRaftRequest) (all []*string) {
	if r := in.Authenticate; r != nil {
		all = append(all, &r.Password, &r.SimpleToken)
	}
	if r := in.AuthUserAdd; r != nil {
		all = append(all, &r.Password, &r.HashedPassword)
	}
	if r := in.AuthUserChangePassword; r != nil {
		all = append(all, &r.Password, &r.HashedPassword)
	}
	return all
}

// holds says which field of a message, as protojson writes it, a logged request lacks, or has otherwise.
func holds(got, want map[string]any) string {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		switch w := want[name].(type) {
		case map[string]any:
			g, ok := got[name].(map[string]any)
			if why := holds(g, w); !ok || why != "" {
				return name + "." + why
			}
		case []any:
			g, ok := got[name].([]any)
			if !ok || len(g) != len(w) {
				return name
			}
			for i := range w {
				x, message := w[i].(map[string]any)
				y, _ := g[i].(map[string]any)
				if why := holds(y, x); message && why != "" {
					return name + "." + why
				} else if !message && fmt.Sprint(w[i]) != fmt.Sprint(g[i]) {
					return name
				}
			}
		default:
			if !sameScalar(got, name, fmt.Sprint(w)) {
				return name
			}
		}
	}
	return ""
}

// sameScalar compares a scalar of protojson, in which bytes are base64 and 64 bit numbers are text.
func sameScalar(got map[string]any, name, want string) bool {
	if fmt.Sprint(got[name]) == want || fmt.Sprint(got[name+"_base64"]) == want {
		return true
	}
	text, ok := got[name].(string)
	if ok && base64.StdEncoding.EncodeToString([]byte(text)) == want {
		return true
	}
	id, err := strconv.ParseUint(text, 16, 64)
	return ok && len(text) == 16 && err == nil && (strconv.FormatUint(id, 10) == want || strconv.FormatInt(int64(id), 10) == want)
}
