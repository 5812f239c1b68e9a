package attach

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
)

// Hashes are the files of members with their hashes, and a secret that only those know who have the files.
type Hashes struct {
	Files  []File
	secret []byte
}

// label sets the secret of a file apart from its hash, which is published. What is hashed behind the contents cannot be
// added to a hash that is known without knowing the length and state of the contents.
const label = "etcd-autopsy: what follows keys the hashes of values"

// job is one file to hash.
type job struct {
	file   File
	source *evidence.File // nil for an archive, which is read from the disk
	secret []byte
	part   bool // the hash is not that of the file
	err    error
}

// Hash hashes all input files on all cores: those of data directories as they are, archives as a whole, and more files, such as servers' logs. progress, if not
// nil, is told how many MiB of all are done.
func Hash(ctx context.Context, ms []*inspect.Member, more []File, progress func(done, total int)) (*Hashes, error) {
	var jobs []*job
	seen := map[string]bool{}
	for _, m := range ms {
		for _, f := range slices.Concat(m.Files, m.Unread) {
			j := &job{file: File{Path: f.Origin, Member: m.Label, Size: f.Size}, source: f}
			j.part = !f.Whole()
			if f.Archive != "" {
				if fi, err := os.Stat(f.Archive); err == nil {
					j = &job{file: File{Path: f.Archive, Member: m.Label, Size: fi.Size()}}
				}
			}
			if !seen[j.file.Path] {
				seen[j.file.Path] = true
				jobs = append(jobs, j)
			}
		}
	}
	for _, f := range more {
		if fi, err := os.Stat(f.Path); err == nil && !seen[f.Path] {
			seen[f.Path] = true
			f.Size = fi.Size()
			jobs = append(jobs, &job{file: f})
		}
	}
	// The largest first, so that no core is left with one of them in the end.
	order := slices.Clone(jobs)
	slices.SortStableFunc(order, func(a, b *job) int { return int(min(max(b.file.Size-a.file.Size, -1), 1)) })
	var total int64
	for _, j := range jobs {
		total += j.file.Size
	}
	var done atomic.Int64
	tick := func(n int) {
		if now := done.Add(int64(n)); progress != nil {
			progress(int(now>>20), int(total>>20))
		}
	}
	todo := make(chan *job)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for j := range todo {
				j.err = j.run(ctx, tick)
			}
		})
	}
	for _, j := range order {
		todo <- j
	}
	close(todo)
	wg.Wait()
	slices.SortFunc(jobs, func(a, b *job) int { return strings.Compare(a.file.Path, b.file.Path) })
	h := &Hashes{}
	all := sha256.New()
	var errs []error
	for _, j := range jobs {
		if !j.part {
			h.Files = append(h.Files, j.file)
		}
		all.Write(j.secret)
		errs = append(errs, j.err)
	}
	h.secret = all.Sum(nil)
	return h, errors.Join(errs...)
}

func (j *job) run(ctx context.Context, tick func(n int)) error {
	return evidence.Guard(j.file.Path, func() (err error) {
		h := sha256.New()
		if j.source != nil {
			j.source.Advise(true)
			if err := feed(ctx, h, j.source.Bytes(), tick); err != nil {
				return err
			}
		} else {
			f, err := os.Open(j.file.Path)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			if j.file.Size, err = io.Copy(h, &reader{ctx, f, tick}); err != nil {
				return err
			}
		}
		j.file.SHA256 = hex.EncodeToString(h.Sum(nil))
		h.Write([]byte(label))
		j.secret = h.Sum(nil)
		return nil
	})
}

// step is how much is hashed between two looks at the context.
const step = 4 << 20

func feed(ctx context.Context, h hash.Hash, data []byte, tick func(n int)) error {
	for len(data) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(step, len(data))
		h.Write(data[:n])
		tick(n)
		data = data[n:]
	}
	return nil
}

type reader struct {
	ctx  context.Context
	r    io.Reader
	tick func(n int)
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(b)
	r.tick(n)
	return n, err
}

// ValueKey keys the hashes of values in a report that is not redacted: the same for the same evidence, and unknown to
// those who do not have it.
func (h *Hashes) ValueKey() []byte { return h.secret }
