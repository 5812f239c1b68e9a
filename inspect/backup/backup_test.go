package backup_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/backup"
)

// saved is a db of a real member with its hash behind it.
func saved(t *testing.T) []byte {
	t.Helper()
	set, err := inspect.Open(t.Context(), []string{"../../testdata/damaged-page/b.tar.zst"}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	db := set.Members[0].DB
	b := bytes.Clone(db.File.Bytes()[:db.Bolt.Meta().HighWater*uint64(db.Bolt.Meta().PageSize)])
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// TestVerify changes a good backup in ways that have names. What is called restorable etcdutl restores, and what is not it
// refuses, or bbolt or a server would later.
func TestVerify(t *testing.T) {
	t.Parallel()
	good := saved(t)
	n := len(good) - sha256.Size
	change := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 0x40
		return b
	}
	page := func(b []byte) []byte { // of which only the header is changed
		b = bytes.Clone(b)
		for p := 4096 * 3; p < n; p += 4096 {
			if b[p+8] == 2 { // a leaf
				b[p] ^= 0xff
			}
		}
		sum := sha256.Sum256(b[:n])
		return append(b[:n], sum[:]...)
	}
	for _, c := range []struct {
		name  string
		data  []byte
		state backup.State
		hash  backup.Hash
		// utl is whether etcdutl takes it with the hash check, skip without.
		utl, skip bool
	}{
		{"good", good, backup.Restorable, backup.HashRight, true, true},
		{"no hash", good[:n], backup.Restorable, backup.HashMissing, false, true},
		{"hash of zeros", append(bytes.Clone(good[:n]), make([]byte, sha256.Size)...), backup.NotRestorable, backup.HashZeros, false, true},
		{"wrong hash", change(good, len(good)-1), backup.NotRestorable, backup.HashWrong, false, true},
		{"pages changed", page(good), backup.NotRestorable, backup.HashRight, false, false},
		{"cut", good[:n/2/4096*4096], backup.NotRestorable, backup.HashMissing, false, false},
		{"garbage", bytes.Repeat([]byte("garbage!"), 8192), backup.NotRestorable, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "b.db")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := inspect.Open(t.Context(), []string{path}, inspect.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			r := backup.Verify(set.Members[0])
			if r.State != c.state || r.Hash != c.hash || r.Why == "" || r.Cut != (c.name == "cut") {
				t.Errorf("%+v", r)
			}
			if c.skip && (r.Keys == 0 || r.Revision < 2 || !r.Whole) {
				t.Errorf("not read: %+v", r)
			}
			if !c.skip {
				return // bbolt ends the process on some of these
			}
			for _, skip := range []bool{false, true} {
				if got, want := restores(t, path, skip), c.utl || skip; got != want {
					t.Errorf("etcdutl restores it: %v, want %v, with the hash check skipped: %v", got, want, skip)
				}
			}
		})
	}
}

func restores(t *testing.T, path string, skip bool) bool {
	t.Helper()
	return snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: "m", OutputDataDir: filepath.Join(t.TempDir(), "restored"), SkipHashCheck: skip,
		PeerURLs: []string{"http://localhost:2380"}, InitialCluster: "m=http://localhost:2380", InitialClusterToken: "t",
	}) == nil
}

// TestTorn verifies copies of running members, of which the pages are of several moments.
func TestTorn(t *testing.T) {
	t.Parallel()
	set, err := inspect.Open(t.Context(), []string{"../../testdata/hot-copy-one-torn", "../../testdata/missing-db"}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	bad := slices.ContainsFunc(set.Members, func(m *inspect.Member) bool {
		r := backup.Verify(m)
		if m.DB == nil && (r.State != backup.NotRestorable || r.Why != "no db that can be read") {
			t.Errorf("%s: %+v", m.Label, r)
		}
		return m.DB != nil && r.State != backup.Restorable
	})
	if !bad {
		t.Error("all are restorable")
	}
}
