package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/lzw"
	"compress/zlib"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect"
)

// told is what a member's files tell, whatever they were packed in: rows, entries, snapshots, tables.
func told(m *inspect.Member) string {
	var b strings.Builder
	if m.DB != nil {
		fmt.Fprintf(&b, "db %x: %d rows, revision %d, consistent index %d, %d members, %d leases\n", sha256.Sum256(m.DB.File.Bytes()), m.DB.Rows.Len(), m.DB.Revision(),
			m.DB.Tables.ConsistentIndex, len(m.DB.Tables.Members), len(m.DB.Tables.Leases))
	}
	h := sha256.New()
	for _, e := range m.Log.Entries {
		fmt.Fprintf(h, "%d %d %d %x\n", e.Index, e.Term, e.Type, e.Data)
	}
	fmt.Fprintf(&b, "log of %x: %d entries from %d to %d, %x\n", m.Log.NodeID, len(m.Log.Entries), m.Log.First(), m.Log.Last(), h.Sum(nil))
	for _, s := range m.Snaps {
		fmt.Fprintf(&b, "snap %d %d %v\n", s.Index, s.Term, s.CRCOK)
	}
	return b.String()
}

// toldBy opens args and returns what each member tells, by label, and the codes of what is wrong with it.
func toldBy(t *testing.T, opts inspect.Options, args ...string) (map[string]string, string) {
	t.Helper()
	set, err := inspect.Open(t.Context(), args, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	}()
	out, lost := map[string]string{}, ""
	for _, m := range set.Members {
		out[m.Label] = told(m)
		if ok, why := m.Complete(); !ok {
			lost += strings.Join(why, "\n") + "\n"
		}
	}
	return out, lost
}

// plainMember unpacks a member and cuts the zeros that its segments end in, so that nothing takes long.
func plainMember(t *testing.T, archive, dir string) map[string][]byte {
	t.Helper()
	if err := unpack(filepath.Join(scenarios, archive), dir); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if strings.Contains(p, "/wal/") {
			b = bytes.TrimRight(b, "\x00")
			b = append(b, make([]byte, 4096-len(b)%4096)...)
			if err := os.WriteFile(p, b, 0o600); err != nil {
				return err
			}
		}
		rel, err := filepath.Rel(dir, p)
		files[filepath.ToSlash(rel)] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func sortedNames(files map[string][]byte) []string {
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func tarred(files map[string][]byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range sortedNames(files) {
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o600, Size: int64(len(files[n]))}); err != nil {
			panic(err)
		}
		_, _ = w.Write(files[n])
	}
	_ = w.Close()
	return b.Bytes()
}

func zipped(files map[string][]byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, n := range sortedNames(files) {
		f, err := w.Create(n)
		if err != nil {
			panic(err)
		}
		_, _ = f.Write(files[n])
	}
	_ = w.Close()
	return b.Bytes()
}

// packers compress; xz and bzip2 by their own tools, where these are.
func packers(t *testing.T) map[string]func([]byte) []byte {
	by := func(make func(w io.Writer) io.WriteCloser) func([]byte) []byte {
		return func(data []byte) []byte {
			var b bytes.Buffer
			w := make(&b)
			_, _ = w.Write(data)
			_ = w.Close()
			return b.Bytes()
		}
	}
	ps := map[string]func([]byte) []byte{
		".gz":   by(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		".zlib": by(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }),
		".Z":    by(func(w io.Writer) io.WriteCloser { return lzw.NewWriter(w, lzw.LSB, 8) }),
		".zst": by(func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				panic(err)
			}
			return z
		}),
	}
	for ext, tool := range map[string]string{".xz": "xz", ".bz2": "bzip2"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Logf("without %s, so %s is tried in inspect/evidence only", tool, ext)
			continue
		}
		ps[ext] = func(data []byte) []byte {
			cmd := exec.CommandContext(t.Context(), tool, "-1", "-c")
			cmd.Stdin = bytes.NewReader(data)
			out, err := cmd.Output()
			if err != nil {
				t.Error(err)
			}
			return out
		}
	}
	return ps
}

// TestInputs hands in a member in every form in which people have it, and asks for the same rows and entries.
func TestInputs(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	plain := filepath.Join(root, "plain", "n1")
	files := plainMember(t, "healthy-3.7/z1.tar.zst", plain)
	db := files["member/snap/db"]
	all, lost := toldBy(t, inspect.Options{}, plain)
	if lost != "" {
		t.Fatal(lost)
	}
	want := all["n1"]
	all, _ = toldBy(t, inspect.Options{}, filepath.Join(plain, "member", "snap", "db"))
	wantDB := all["n1"]
	write := func(name string, data []byte) string {
		p := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	asked := 0
	same := func(what, want string, members int, opts inspect.Options, args ...string) {
		t.Helper()
		asked++
		got, lost := toldBy(t, opts, args...)
		if len(got) != members || lost != "" {
			t.Errorf("%s: %d members, want %d: %s", what, len(got), members, lost)
		}
		for label, g := range got {
			if d := gocmp.Diff(want, g); d != "" {
				t.Errorf("%s: %s (-want +got):\n%s", what, label, d)
			}
		}
	}

	packs := packers(t)
	packs[".zip"] = func(b []byte) []byte { return zipped(map[string][]byte{"x": b}) }
	for ext, pack := range packs {
		if ext != ".Z" {
			same("tree in tar"+ext, want, 1, inspect.Options{}, write("packed/tree"+ext, pack(tarred(files))))
			same("db in "+ext+" without its name", wantDB, 1, inspect.Options{}, write("nameless/"+ext[1:]+"-1", pack(db)))
		}
		same("db in "+ext, wantDB, 1, inspect.Options{}, write("packed/db"+ext, pack(db)))
	}
	same("tar", want, 1, inspect.Options{}, write("packed/tree.tar", tarred(files)))
	same("zip", want, 1, inspect.Options{}, write("packed/tree.zip", zipped(files)))

	// Folders of backups.
	gz := packs[".gz"]
	write("k3s/snapshots/etcd-snapshot-server-1-1700000000", db)
	write("k3s/snapshots/etcd-snapshot-server-1-1700043200.zip", zipped(map[string][]byte{"etcd-snapshot-server-1-1700043200": db}))
	write("k3s/.metadata/etcd-snapshot-server-1-1700000000", []byte(`{"metadata":{}}`))
	same("k3s", wantDB, 2, inspect.Options{}, filepath.Join(root, "k3s"))
	same("k3s, one snapshot", wantDB, 1, inspect.Options{}, filepath.Join(root, "k3s", "snapshots", "etcd-snapshot-server-1-1700000000"))
	write("bitnami/db-2024-03-01_00-00", db)
	write("bitnami/db-2024-03-02_00-00", db)
	same("Bitnami", wantDB, 2, inspect.Options{}, filepath.Join(root, "bitnami"))
	write("kops/main/2024-03-01T00:00:00Z-000001/etcd.backup.gz", gz(db))
	write("kops/main/2024-03-01T00:00:00Z-000001/_etcd_backup.meta", []byte(`{"etcdVersion":"3.5.9"}`))
	same("kOps", wantDB, 1, inspect.Options{}, filepath.Join(root, "kops", "main"))
	write("openshift/snapshot_2024-03-01_000000.db", db)
	write("openshift/snapshot_2024-03-02_000000__POSSIBLY_DIRTY__.db", db)
	write("openshift/static_kuberesources_2024-03-01_000000.tar.gz", gz(tarred(map[string][]byte{"static-pod-resources/kube-apiserver-pod-1/pod.yaml": []byte("x")})))
	same("OpenShift", wantDB, 2, inspect.Options{}, filepath.Join(root, "openshift"))
	same("k0s", wantDB, 1, inspect.Options{}, write("k0s_backup_2024-03-01T00_00_00_000Z.tar.gz", gz(tarred(map[string][]byte{"etcd-snapshot.db": db, "k0s.yaml": []byte("x"), "pki/ca.crt": []byte("y")}))))
	for ext, pack := range packs {
		if ext == ".gz" || ext == ".zlib" || ext == ".Z" {
			write("gardener/Full-00000000-00001234-170000000"+fmt.Sprint(len(ext))+ext, pack(db))
		}
	}
	write("gardener/Full-00000000-00001234-1700000001", db)
	write("gardener/Full-00000000-00001234-1700000009.gz.final", gz(db))
	write("gardener/Incr-00001235-00001240-1700000010.gz", gz([]byte(`[{"etcdEvent":{}}]`)))
	same("Gardener", wantDB, 5, inspect.Options{}, filepath.Join(root, "gardener"))

	// Logs that lie apart.
	var dataDir, walDir string
	for name, b := range files {
		if base, ok := strings.CutPrefix(name, "member/wal/"); ok {
			walDir = filepath.Dir(write("apart/n1/wal/"+base, b))
			write("elsewhere/disk/"+base, b)
		} else {
			write("apart/n1/data/"+name, b)
		}
	}
	dataDir = filepath.Join(root, "apart", "n1", "data")
	same("parent of data and wal", want, 1, inspect.Options{}, filepath.Join(root, "apart", "n1"))
	same("NAME=DATA,wal=DIR", want, 1, inspect.Options{}, "x="+dataDir+",wal="+walDir)
	same("--wal-dir", want, 1, inspect.Options{WALDirs: []string{filepath.Join(root, "elsewhere", "disk")}}, dataDir)

	// Lone files of a member: what they hold is read.
	segments, snaps := 0, 0
	for name, b := range files {
		switch {
		case strings.HasSuffix(name, ".wal"):
			segments++
			got, _ := toldBy(t, inspect.Options{}, write("lone/"+filepath.Base(name), b))
			odd, _ := toldBy(t, inspect.Options{}, write("lone/segment of node 1", b))
			for _, told := range []map[string]string{got, odd} {
				for _, g := range told {
					if strings.Contains(g, "log of 0:") || strings.Contains(g, " 0 entries") {
						t.Errorf("%s alone: %s", name, g)
					}
				}
			}
		case strings.HasSuffix(name, ".snap"):
			snaps++
			got, _ := toldBy(t, inspect.Options{}, write("lone/"+filepath.Base(name), b))
			for _, g := range got {
				if !strings.Contains(g, "snap ") || !strings.Contains(g, " true") {
					t.Errorf("%s alone: %s", name, g)
				}
			}
		}
	}
	if segments == 0 || snaps == 0 || asked < 25 {
		t.Errorf("only %d segments, %d .snap files and %d forms", segments, snaps, asked)
	}
}

// TestInputOptions asks what the command line says about logs that lie apart, what is left out, and temporary space.
func TestInputOptions(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, filepath.FromSlash(name)) }
	files := plainMember(t, "healthy-3.7/z1.tar.zst", at("copies/z1"))
	plainMember(t, "healthy-3.7/z2.tar.zst", at("copies/z2"))
	want, _, status := autopsy(t, "diff", at("copies"), "-w", "json")
	if status != exitOK {
		t.Fatalf("exit status %d: %s", status, want)
	}
	for name, b := range files {
		name = strings.TrimPrefix(name, "member/")
		for _, p := range []string{at("split/data/member/" + name), at("split/" + name)} {
			if strings.HasPrefix(name, "wal/") == strings.Contains(p, "/data/") {
				continue
			}
			if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(at("copies/before"), files["member/snap/db"], 0o600); err != nil {
		t.Fatal(err)
	}
	data, wal := at("split/data"), at("split/wal")
	before := treeState(t, root)
	for _, tt := range []struct {
		args   []string
		status int
		out    string // all of it; "" for whatever
		errs   string // the beginnings of its lines
	}{
		{[]string{"diff", at("copies"), "-w", "json"}, exitOK, want, "note: left out: " + at("copies/before") + ": not part of a data directory"},
		{[]string{"diff", "z1=" + data + ",wal=" + wal, at("copies/z2"), "-w", "json"}, exitOK, want, ""},
		{[]string{"diff", "z1=" + at("split"), at("copies/z2"), "-w", "json"}, exitOK, want, ""},
		{[]string{"inspect", data, "--wal-dir", wal}, exitOK, "", ""},
		{[]string{"inspect", data, "--wal-dir", at("copies")}, exitFailed, "", "Error: " + at("copies") + ": not the folder of one log"},
		{[]string{"diff", data, at("copies/z2"), "--wal-dir", wal}, exitFailed, "", "Error: 1 folders of logs are named for 2 members\nhint: give --wal-dir once for each member"},
		{[]string{"report", data, "--wal-dir", wal, "-o", at("split/wal/out")}, exitFailed, "", "Error: " + at("split/wal/out") + " lies in the evidence " + wal},
		{[]string{"report", data + ",wal=" + wal, "-o", at("split/wal/out")}, exitFailed, "", "Error: " + at("split/wal/out") + " lies in the evidence " + wal},
		{[]string{"inspect", filepath.Join(scenarios, "healthy-3.7", "z1.tar.zst"), "--tmp-dir", root}, exitOK, "", ""},
		{[]string{"inspect", filepath.Join(scenarios, "healthy-3.7", "z1.tar.zst"), "--tmp-dir", at("nowhere")}, exitFailed, "", "Error: " + filepath.Join(scenarios, "healthy-3.7", "z1.tar.zst") + ": offset 0: cannot unpack: \nhint: archives are unpacked to temporary files: --tmp-dir"},
	} {
		out, errs, status := autopsy(t, tt.args...)
		if status != tt.status || tt.out != "" && withoutFindings(t, out) != withoutFindings(t, tt.out) {
			t.Errorf("%q: exit status %d, want %d: %s%s", tt.args, status, tt.status, out, errs)
		}
		got := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
		for i, w := range strings.Split(tt.errs, "\n") {
			if len(got) != strings.Count(tt.errs, "\n")+1 || !strings.HasPrefix(got[i], w) || w == "" && got[i] != "" {
				t.Errorf("%q: says %q, want %q", tt.args, errs, tt.errs)
				break
			}
		}
	}
	if after := treeState(t, root); after != before {
		t.Errorf("the evidence changed:\n%s\nwas:\n%s", after, before)
	}
}

// withoutFindings leaves out of a document what it says about files: where they lie.
func withoutFindings(t *testing.T, doc string) string {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		t.Fatal(err)
	}
	delete(d, "findings")
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// treeState is the names, sizes and times of all files below dir.
func treeState(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, p, fi.Mode(), fi.Size(), fi.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestNamedInputs hands in what is no member of etcd 3, and asks for its name.
func TestNamedInputs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other, err := bolt.Open(filepath.Join(dir, "other"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("v1\x1b[31m")); return err }); err != nil {
		t.Fatal(err)
	}
	_ = other.Close()
	for _, tt := range []struct {
		what, path string
		want       []string
	}{
		{"bolt db of another program", filepath.Join(dir, "other"), []string{"db-foreign", `its buckets are "v1\x1b[31m"`}},
		{"etcd 2", etcd2(t, filepath.Join(dir, "two"), "2.3.0"), []string{"etcd-2", "a data directory of etcd 2 (cluster version 2.3.0)"}},
		{"etcd 2 before its version was set", etcd2(t, filepath.Join(dir, "young"), ""), []string{"etcd-2", "a data directory of etcd 2:"}},
		{"etcd 3 without its db", etcd2(t, filepath.Join(dir, "three"), "3.4.0"), []string{"db-missing"}},
		{"interrupted first start", firstStart(t, filepath.Join(dir, "first")), []string{"first-start-interrupted"}},
	} {
		out, _, _ := autopsy(t, "check", tt.path, "-w", "json")
		for _, w := range tt.want {
			quoted := strings.Trim(fmt.Sprintf("%q", w), `"`)
			if !strings.Contains(out, w) && !strings.Contains(out, quoted) {
				t.Errorf("%s: no %q in %s", tt.what, w, out)
			}
		}
		for _, wrong := range []string{"etcd-2", "first-start-interrupted", "db-foreign", "bucket-missing", "db-missing"} {
			if strings.Contains(out, `"`+wrong+`"`) && !slices.Contains(tt.want, wrong) {
				t.Errorf("%s: is called %s", tt.what, wrong)
			}
		}
	}
}

// firstStart is what etcd leaves if it ends before its log is made.
func firstStart(t *testing.T, dir string) string {
	t.Helper()
	for _, d := range []string{"member/snap", "member/wal.tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	db, err := bolt.Open(filepath.Join(dir, "member", "snap", "db"), 0o600, nil)
	if err == nil {
		err = db.Close()
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "member", "wal.tmp", "0000000000000000-0000000000000000.wal"), make([]byte, 4096), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// etcd2 makes a member without a db, with requests of the v2 store in its log.
func etcd2(t *testing.T, dir, version string) string {
	t.Helper()
	request := func(method, path, val string) []byte { // etcdserverpb.Request, every field as gogo/protobuf wrote it
		b := []byte{1 << 3, 7}
		for i, s := range []string{method, path, val} {
			b = append(binary.AppendUvarint(append(b, byte(i+2)<<3|2), uint64(len(s))), s...)
		}
		b = append(b, 5<<3, 0, 6<<3|2, 0, 7<<3, 0)
		for n := 9; n <= 16; n++ {
			b = append(binary.AppendUvarint(b, uint64(n)<<3), 0)
		}
		return b
	}
	reqs := [][]byte{request("PUT", "/1/a", "x"), request("SYNC", "", "")}
	if version != "" {
		reqs = append(reqs, request("PUT", "/0/version", version))
	}
	var w bytes.Buffer
	var crc uint32
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	record := func(kind byte, data []byte) {
		crc = crc32.Update(crc, castagnoli, data)
		rec := append([]byte{8, kind, 16}, binary.AppendUvarint(nil, uint64(crc))...)
		if data != nil {
			rec = append(binary.AppendUvarint(append(rec, 26), uint64(len(data))), data...)
		}
		n := uint64(len(rec))
		pad := -n % 8
		field := n
		if pad > 0 {
			field |= (0x80 | pad) << 56
		}
		w.Write(binary.LittleEndian.AppendUint64(nil, field))
		w.Write(rec)
		w.Write(make([]byte, pad))
	}
	marshal := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	record(4, nil)
	record(1, marshal(&pb.Metadata{NodeID: new(uint64(1)), ClusterID: new(uint64(2))}))
	for i, r := range reqs {
		record(2, marshal(&raftpb.Entry{Index: new(uint64(i + 1)), Term: new(uint64(1)), Type: raftpb.EntryNormal.Enum(), Data: r}))
	}
	record(3, marshal(&raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(1)), Commit: new(uint64(len(reqs)))}))
	for _, d := range []string{"snap", "wal"} {
		if err := os.MkdirAll(filepath.Join(dir, "member", d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "member", "wal", "0000000000000000-0000000000000000.wal"), w.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
