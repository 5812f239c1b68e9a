// Package gardener reads the backups of Gardener's etcd-backup-restore: full snapshots, and deltas, which hold the events of a watch on all keys.
//
//	Full-00000000-00001200-1699999999.gz         kind, first and last revision, time, compression, .final for the last of a cluster
//	Incr-00001201-00001300-1700000299.gz
//
//	+------------------------------------------------------------+---------------------+
//	| [{"etcdEvent":{"kv":{...},"type":1},"time":"..."}, ...]    | sha256 of all that  |   a delta, unpacked
//	+------------------------------------------------------------+---------------------+
//
// kv has key and value in base64, mod_revision and lease; a type of 1 is a deletion, and none a put. Facts from pkg/types/snapstore.go,
// pkg/snapstore/snapshot.go, pkg/compressor and pkg/snapshot/{snapshotter,restorer} of etcd-backup-restore v0.44.
package gardener

import (
	"bytes"
	"compress/gzip"
	"compress/lzw"
	"compress/zlib"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strconv"
	"time"
)

// Kind is what a file holds.
type Kind string

// Kinds, as they begin names.
const (
	Full  Kind = "Full"
	Delta Kind = "Incr"
)

// Name is what the name of a file says.
type Name struct {
	Kind        Kind
	First, Last int64 // revisions
	Created     time.Time
	Suffix      string // of its compression: .gz, .zlib, .Z, or empty
	Final       bool
}

var pattern = regexp.MustCompile(`^(Full|Incr)-([0-9]+)-([0-9]+)-([0-9]+)(\.gz|\.zlib|\.Z)?(\.final)?$`)

// Parse reads the name of a file without its folder. ok is false if it is none of these.
func Parse(name string) (n Name, ok bool) {
	p := pattern.FindStringSubmatch(name)
	if p == nil {
		return n, false
	}
	first, err1 := strconv.ParseInt(p[2], 10, 64)
	last, err2 := strconv.ParseInt(p[3], 10, 64)
	at, err3 := strconv.ParseInt(p[4], 10, 64)
	if errors.Join(err1, err2, err3) != nil || first > last {
		return n, false
	}
	return Name{Kind(p[1]), first, last, time.Unix(at, 0).UTC(), p[5], p[6] != ""}, true
}

// Before orders files as etcd-backup-restore does: by last revision, then by time (pkg/types/snapstore.go, SnapList).
func (n *Name) Before(o *Name) bool {
	if n.Last != o.Last {
		return n.Last < o.Last
	}
	return n.Created.Before(o.Created)
}

// Event is one change of a key.
type Event struct {
	Revision int64
	Delete   bool
	Key      []byte
	Lease    int64
	Size     int // of the value, in bytes
}

// Bounds of what is read: an event holds a request of etcd, which is 1.5 MiB long unless a server was told otherwise.
const (
	maxEvent    = 64 << 20
	maxUnpacked = 64 << 30
)

// ErrHash says that the sha256 at the end is not that of what is before it.
var ErrHash = errors.New("its hash is wrong: bytes have changed")

// Reader reads the events of a delta one after another. Memory is bounded by the size of an event.
type Reader struct {
	in    *tail
	json  *json.Decoder
	event Event
	err   error
	began bool
	done  bool
}

// NewReader reads a file whose name has a suffix of compression. An error says that it is not compressed so.
func NewReader(r io.Reader, suffix string) (*Reader, error) {
	var err error
	switch suffix {
	case ".gz":
		r, err = gzip.NewReader(r)
	case ".zlib":
		r, err = zlib.NewReader(r)
	case ".Z":
		r = lzw.NewReader(r, lzw.LSB, 8)
	}
	if err != nil {
		return nil, fmt.Errorf("it is not compressed as its name says: %w", err)
	}
	x := &Reader{in: &tail{r: r, hash: sha256.New()}}
	x.json = json.NewDecoder(x.in)
	x.in.behind = x.json.InputOffset
	return x, nil
}

// written is an event as it is stored.
type written struct {
	Event *struct {
		Type int `json:"type"`
		KV   *struct {
			Key   []byte `json:"key"`
			Mod   int64  `json:"mod_revision"`
			Value []byte `json:"value"`
			Lease int64  `json:"lease"`
		} `json:"kv"`
	} `json:"etcdEvent"`
}

// Next reads the next event. It is false at the end, and on an error, which Err tells.
func (r *Reader) Next() bool {
	if r.done || r.err != nil {
		return false
	}
	if !r.began {
		if t, err := r.json.Token(); err != nil || t != json.Delim('[') {
			return r.fail(err, "it is no list of events")
		}
		r.began = true
	}
	if !r.json.More() {
		if t, err := r.json.Token(); err != nil || t != json.Delim(']') {
			return r.fail(err, "the list of events does not end")
		}
		if _, err := r.json.Token(); !errors.Is(err, io.EOF) {
			return r.fail(err, "there is more behind the list of events")
		}
		r.done = true
		return false
	}
	var w written
	if err := r.json.Decode(&w); err != nil {
		return r.fail(err, "an event does not decode")
	}
	if w.Event == nil || w.Event.KV == nil || w.Event.Type < 0 || w.Event.Type > 1 {
		return r.fail(nil, "an event is none of etcd's")
	}
	kv := w.Event.KV
	r.event = Event{Revision: kv.Mod, Delete: w.Event.Type == 1, Key: kv.Key, Lease: kv.Lease, Size: len(kv.Value)}
	return true
}

func (r *Reader) fail(err error, what string) bool {
	if r.in.err != nil { // what could not be read says more than what that made of the text
		err = r.in.err
	}
	if r.err = fmt.Errorf("%s, at byte %d unpacked", what, r.json.InputOffset()); err != nil {
		r.err = fmt.Errorf("%w: %w", r.err, err)
	}
	return false
}

// Event is the one that Next has read. Its key is valid until Next is called again.
func (r *Reader) Event() *Event { return &r.event }

// Err is why Next ended before the end, nil if it did not. It does not speak of the hash.
func (r *Reader) Err() error { return r.err }

// Check reads what is left, and says whether the hash at the end is right.
func (r *Reader) Check() error {
	r.in.last = true
	if _, err := io.Copy(io.Discard, r.in); err != nil {
		return fmt.Errorf("it cannot be read to its end: %w", err)
	}
	if len(r.in.held) < sha256.Size || r.in.passed == 0 {
		return errors.New("it is too short to have a hash")
	}
	if !bytes.Equal(r.in.hash.Sum(nil), r.in.held) {
		return ErrHash
	}
	return nil
}

// tail passes on a stream but for its last 32 bytes, and hashes what it passes on.
type tail struct {
	r      io.Reader
	hash   hash.Hash
	held   []byte
	passed int64
	err    error
	// behind is how much of what was passed on has been used. last is true when nothing of it is kept any more.
	behind func() int64
	last   bool
}

func (t *tail) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	switch {
	case !t.last && t.passed-t.behind() > maxEvent:
		t.err = fmt.Errorf("an event of more than %d bytes", maxEvent)
		return 0, t.err
	case t.passed > maxUnpacked:
		t.err = fmt.Errorf("it unpacks to more than %d bytes", int64(maxUnpacked))
		return 0, t.err
	}
	buf := make([]byte, min(len(p), 32<<10))
	for {
		n, err := t.r.Read(buf)
		t.held = append(t.held, buf[:n]...)
		if k := len(t.held) - sha256.Size; k > 0 {
			// p takes all of it: what is read is no longer than p, and what was held before no longer than the hash.
			out := copy(p, t.held[:min(k, len(p))])
			t.hash.Write(p[:out])
			t.passed += int64(out)
			t.held = append(t.held[:0], t.held[out:]...)
			return out, nil
		}
		if err != nil {
			if err != io.EOF {
				t.err = err
			}
			return 0, err
		}
	}
}
