package gardener_test

import (
	"bytes"
	"compress/gzip"
	"compress/lzw"
	"compress/zlib"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"etcd-autopsy/inspect/gardener"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Full-00000000-00001200-1699999999.gz":       "Full 0 1200 .gz false",
		"Incr-00001201-00001300-1699999999":          "Incr 1201 1300  false",
		"Full-00000000-00001200-1699999999.Z.final":  "Full 0 1200 .Z true",
		"Incr-00000001-00000001-1699999999.zlib":     "Incr 1 1 .zlib false",
		"Full-00000000-00001200-1699999999.final":    "Full 0 1200  true",
		"Incr-00000002-00000001-1699999999":          "",
		"Incr-99999999999999999999-1-1":              "",
		"Chunk-00000001-00000001-1699999999":         "",
		"xIncr-00000001-00000001-1699999999":         "",
		"Incr-00000001-00000001-1699999999.gz.final": "Incr 1 1 .gz true",
		"Incr-00000001-00000001-1699999999.bz2":      "",
	} {
		n, ok := gardener.Parse(name)
		got := ""
		if ok {
			b, err := json.Marshal([]any{n.Kind, n.First, n.Last, n.Suffix, n.Final})
			if err != nil {
				t.Fatal(err)
			}
			got = strings.NewReplacer("[", "", "]", "", `"`, "", ",", " ").Replace(string(b))
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// delta is a file as etcd-backup-restore writes it.
func delta(t testing.TB, suffix string, events ...*mvccpb.Event) []byte {
	t.Helper()
	var list []map[string]any
	for _, e := range events {
		list = append(list, map[string]any{"etcdEvent": e, "time": "2026-11-21T08:00:00Z"})
	}
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return packed(t, suffix, append(b, sum[:]...))
}

func packed(t testing.TB, suffix string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch suffix {
	case ".gz":
		w = gzip.NewWriter(&out)
	case ".zlib":
		w = zlib.NewWriter(&out)
	case ".Z":
		w = lzw.NewWriter(&out, lzw.LSB, 8)
	default:
		return b
	}
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func event(rev int64, key, value string, lease int64) *mvccpb.Event {
	e := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: rev, CreateRevision: rev, Version: 1, Lease: lease}}
	if value == "" {
		e.Type = mvccpb.Event_DELETE
	}
	return e
}

// read reads a file to its end.
func read(b []byte, suffix string) (events []gardener.Event, err error) {
	r, err := gardener.NewReader(bytes.NewReader(b), suffix)
	if err != nil {
		return nil, err
	}
	for r.Next() {
		e := *r.Event()
		e.Key = bytes.Clone(e.Key)
		events = append(events, e)
	}
	return events, errors.Join(r.Err(), r.Check())
}

func TestReader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("v", 100_000)
	for _, suffix := range []string{"", ".gz", ".zlib", ".Z"} {
		b := delta(t, suffix, event(7, "a", "one", 0), event(8, "b", long, 5), event(8, "a", "", 0))
		events, err := read(b, suffix)
		if err != nil || len(events) != 3 {
			t.Fatalf("%s: %d events: %v", suffix, len(events), err)
		}
		if e := events[1]; e.Revision != 8 || string(e.Key) != "b" || e.Size != len(long) || e.Lease != 5 || e.Delete {
			t.Errorf("%s: %+v", suffix, e)
		}
		if !events[2].Delete || events[0].Delete {
			t.Errorf("%s: %+v", suffix, events)
		}
		// Wherever it ends too early, that is said.
		for n := 0; n < len(b); n += 1 + len(b)/200 {
			if _, err := read(b[:n], suffix); err == nil {
				t.Errorf("%s: cut at %d of %d, and nothing is said", suffix, n, len(b))
			}
		}
	}
	plain := delta(t, "", event(7, "a", "one", 0))
	for i := range plain {
		c := bytes.Clone(plain)
		c[i] ^= 1
		if _, err := read(c, ""); !errors.Is(err, gardener.ErrHash) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	if _, err := read(plain, ".gz"); err == nil || !strings.Contains(err.Error(), "not compressed as its name says") {
		t.Error(err)
	}
	for _, text := range []string{`{}`, `[{}]`, `[{"etcdEvent":{}}]`, `[{"etcdEvent":{"type":2,"kv":{}}}]`, `[1]`, `[]]`, `[] []`, `[`, ``} {
		sum := sha256.Sum256([]byte(text))
		if _, err := read(append([]byte(text), sum[:]...), ""); err == nil {
			t.Errorf("%s: nothing is said", text)
		}
	}
}

// endless is a list of one event without an end.
type endless struct{ began bool }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	if !e.began {
		e.began = true
		copy(p, `[{"etcdEvent":{"kv":{"key":"`)
	}
	return len(p), nil
}

// TestBound asserts that an event without an end is not read into memory.
func TestBound(t *testing.T) {
	t.Parallel()
	r, err := gardener.NewReader(&endless{}, "")
	if err != nil {
		t.Fatal(err)
	}
	if r.Next() || r.Err() == nil || !strings.Contains(r.Err().Error(), "an event of more than") {
		t.Error(r.Err())
	}
}

func FuzzReader(f *testing.F) {
	for _, suffix := range []string{"", ".gz", ".zlib", ".Z"} {
		f.Add(delta(f, suffix, event(7, "a", "one", 0), event(8, "a", "", 0)), suffix)
	}
	f.Fuzz(func(_ *testing.T, b []byte, suffix string) {
		_, _ = read(b, suffix)
	})
}
