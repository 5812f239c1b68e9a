// Command gen makes data directories that are too big to be checked in.
//
//	go run ./testdata/gen big -mib 1024 -o DIR
//
// makes three members a, b, c of one cluster whose dbs have the given size each, with keys of 1 KiB values, and a log of
// 25,000 puts, of which c skipped one, 5,000 entries before the end. With -hot the puts of the log are of as many keys, and with -compact
// all members are compacted as many entries before the end: behind the one that was skipped, as in a cluster that an incident is found
// in some minutes later. With -equal no member skips anything, and -members makes others than three.
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

func main() {
	gen := run
	if len(os.Args) > 1 && os.Args[1] == "fleet" {
		gen = fleet
	}
	if err := gen(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) == 0 || args[0] != "big" {
		return errors.New("usage: gen big [-mib N] [-log N] [-value N] [-differ N] [-members N] [-equal] -o DIR")
	}
	fs := flag.NewFlagSet("big", flag.ContinueOnError)
	c := config{}
	fs.IntVar(&c.mib, "mib", 1024, "size of each db in MiB")
	fs.IntVar(&c.log, "log", 25_000, "entries in the log")
	fs.IntVar(&c.after, "after", 5_000, "entries after the one that is skipped")
	fs.IntVar(&c.value, "value", 1024, "bytes of a value")
	fs.IntVar(&c.hot, "hot", 0, "keys that the log puts, each many times; 0 for one of its own each")
	fs.IntVar(&c.compact, "compact", 0, "entries after the compact revision; 0 for none")
	fs.BoolVar(&c.equal, "equal", false, "c skips nothing")
	fs.IntVar(&c.members, "members", 3, "how many there are; the last one skips")
	fs.IntVar(&c.differ, "differ", 0, "keys whose value c has otherwise, in the part before the log")
	fs.StringVar(&c.out, "o", "", "directory to make")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if c.out == "" {
		return errors.New("-o is missing")
	}
	// A leaf page is filled to 90 %, a row takes some 120 bytes besides its value.
	c.rows = c.mib << 20 / 1500 * 1024 / (c.value + 100) * 1124 / 1024
	if c.value == 1024 {
		c.rows = int(float64(c.mib) / 1024 * 715_000)
	}
	c.log = min(c.log, c.rows/2)
	c.after = min(c.after, c.log/2)
	if c.members < 1 || c.members > len(ids) {
		return fmt.Errorf("-members is from 1 to %d", len(ids))
	}
	for i := range c.members {
		if err := c.member(string(rune('a'+i)), i == c.members-1 && !c.equal); err != nil {
			return err
		}
	}
	return nil
}

type config struct {
	mib, log, after, value, differ, rows, hot, compact, members int
	equal                                                       bool
	out                                                         string
}

// cluster is the id of the cluster, and began what ids of requests tell of the start of the process that proposes.
var cluster, began uint64 = 0xc1057e12, 0

const (
	keyPrefix = "/registry/configmaps/default/object-"
	term      = 2
	// applied is how many entries the cluster had before it wrote its first key.
	applied = 8
)

var ids = []uint64{0xa000000000000a01, 0xb000000000000b02, 0xc000000000000c03, 0xd000000000000d04, 0xe000000000000e05}

// value is the same for the same revision on every member.
func (c *config) valueAt(rev int, buf []byte) []byte {
	r := rand.New(rand.NewPCG(uint64(rev), 1))
	for i := 0; i+8 <= len(buf); i += 8 {
		binary.LittleEndian.PutUint64(buf[i:], r.Uint64())
	}
	return buf
}

// key is that of the n-th put.
func (c *config) key(n int) []byte {
	if behind := c.rows - c.log; c.hot > 0 && n > behind {
		n = 1 + (n-behind)*7%c.hot
	}
	return fmt.Appendf(nil, "%s%09d", keyPrefix, n)
}

// passed tells whether compaction removes the row of the n-th put: the key is put again up to the compact revision, which is that of a
// later put on the member that skipped one.
func (c *config) passed(n int, odd bool) bool {
	behind, end := c.rows-c.log, c.rows-c.compact-1
	if odd {
		end++
	}
	if c.hot == 0 || c.compact == 0 || n > end {
		return false
	}
	if n <= behind {
		return n <= c.hot && end-behind >= c.hot
	}
	if next := n + c.hot; odd && next == c.rows-c.after { // that put was skipped
		return next+c.hot <= end
	}
	return n+c.hot <= end
}

// member writes one member. Entry i makes revision i-applied+1, on the odd one a revision less behind the skipped entry.
func (c *config) member(name string, odd bool) error {
	dir := filepath.Join(c.out, name, "member")
	if err := os.MkdirAll(filepath.Join(dir, "snap"), 0o700); err != nil {
		return err
	}
	skipped := c.rows - c.after
	last := applied + c.rows
	if err := c.db(filepath.Join(dir, "snap", "db"), odd, skipped, last); err != nil {
		return err
	}
	return c.wal(filepath.Join(dir, "wal"), ids[name[0]-'a'], last)
}

func (c *config) db(path string, odd bool, skipped, last int) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true, NoSync: true, FreelistType: bolt.FreelistMapType, InitialMmapSize: c.mib << 21})
	if err != nil {
		return err
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error { return c.tables(tx, uint64(last)) })
	if c.compact > 0 && err == nil {
		rev := c.rows - c.compact
		err = db.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("meta"))
			k := append(binary.BigEndian.AppendUint64(nil, uint64(rev)), '_')
			k = binary.BigEndian.AppendUint64(k, 0)
			return errors.Join(b.Put([]byte("scheduledCompactRev"), k), b.Put([]byte("finishedCompactRev"), k))
		})
	}
	buf := make([]byte, c.value)
	type life struct{ create, version int64 }
	lives := map[string]life{} // of the keys that are put many times
	const batch = 20_000
	for from := 1; from <= c.rows && err == nil; from += batch {
		err = db.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("key"))
			b.FillPercent = 0.9
			for n := from; n < from+batch && n <= c.rows; n++ {
				rev := n + 1
				if odd && n == skipped {
					continue
				}
				if odd && n > skipped {
					rev--
				}
				l := life{create: int64(rev)}
				if k := string(c.key(n)); n <= c.hot || c.hot > 0 && n > c.rows-c.log {
					if was, ok := lives[k]; ok {
						l = was
					}
					l.version++
					lives[k] = l
				} else {
					l.version++
				}
				if c.passed(n, odd) {
					continue
				}
				kv := &mvccpb.KeyValue{Key: c.key(n), CreateRevision: l.create, ModRevision: int64(rev), Version: l.version, Value: c.valueAt(n, buf)}
				if odd && n <= c.differ {
					kv.Value[0] ^= 1
				}
				v, err := proto.Marshal(kv)
				if err != nil {
					return err
				}
				k := binary.BigEndian.AppendUint64(nil, uint64(rev))
				k = append(k, '_')
				if err := b.Put(binary.BigEndian.AppendUint64(k, 0), v); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return err
}

func (c *config) tables(tx *bolt.Tx, last uint64) error {
	for _, name := range []string{"alarm", "auth", "authRoles", "authUsers", "cluster", "key", "lease", "members", "members_removed", "meta"} {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	put := func(bucket, k string, v []byte) error { return tx.Bucket([]byte(bucket)).Put([]byte(k), v) }
	voters := ids[:max(c.members, 3)]
	conf, err := json.Marshal(map[string]any{"voters": voters, "auto_leave": false})
	if err != nil {
		return err
	}
	errs := []error{
		put("meta", "consistent_index", binary.BigEndian.AppendUint64(nil, last)),
		put("meta", "term", binary.BigEndian.AppendUint64(nil, term)),
		put("meta", "confState", conf),
		put("meta", "storageVersion", []byte("3.6.0")),
		put("cluster", "clusterVersion", []byte("3.6.0")),
		put("auth", "authRevision", binary.BigEndian.AppendUint64(nil, 1)),
	}
	for i, id := range voters {
		m, err := json.Marshal(map[string]any{"id": id, "name": string(rune('a' + i)), "peerURLs": []string{fmt.Sprintf("http://127.0.0.1:%d", 2380+i)}})
		errs = append(errs, err, put("members", fmt.Sprintf("%x", id), m))
	}
	return errors.Join(errs...)
}

func (c *config) wal(dir string, id uint64, last int) error {
	meta, err := proto.Marshal(&pb.Metadata{NodeID: &id, ClusterID: proto.Uint64(cluster)})
	if err != nil {
		return err
	}
	w, err := wal.Create(zap.NewNop(), dir, meta)
	if err != nil {
		return err
	}
	defer w.Close()
	w.SetUnsafeNoFsync()
	first := last - c.log + 1
	if err := w.SaveSnapshot(&walpb.Snapshot{Index: proto.Uint64(uint64(first - 1)), Term: proto.Uint64(term), ConfState: &raftpb.ConfState{Voters: ids[:max(c.members, 3)]}}); err != nil {
		return err
	}
	buf := make([]byte, c.value)
	const batch = 1000
	for from := first; from <= last; from += batch {
		var es []*raftpb.Entry
		to := min(from+batch-1, last)
		for i := from; i <= to; i++ {
			n := i - applied
			data, err := proto.Marshal(&pb.InternalRaftRequest{
				Header: &pb.RequestHeader{ID: ids[0]<<48 | began + uint64(i)},
				Put:    &pb.PutRequest{Key: c.key(n), Value: c.valueAt(n, buf)},
			})
			if err != nil {
				return err
			}
			es = append(es, &raftpb.Entry{Index: proto.Uint64(uint64(i)), Term: proto.Uint64(term), Type: raftpb.EntryNormal.Enum(), Data: data})
		}
		if err := w.Save(&raftpb.HardState{Term: proto.Uint64(term), Vote: proto.Uint64(ids[0]), Commit: proto.Uint64(uint64(to))}, es); err != nil {
			return err
		}
	}
	return nil
}
