package bolt

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// seen notes the pages that it is shown.
type seen struct {
	pages []uint64
	forks int // joined
}

func (s *seen) Leaf(_ *Bucket, l Leaf) { s.pages = append(s.pages, l.Page()) }
func (s *seen) Fork() Visitor          { return &seen{} }

func (s *seen) Join(fork Visitor) {
	s.pages = append(s.pages, fork.(*seen).pages...)
	s.forks++
}

func together(fs []func()) {
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(f)
	}
	wg.Wait()
}

// TestApart compares what is read in parts with what is read in order, of whole files and of damaged ones.
func TestApart(t *testing.T) {
	const size = 1024
	data := build(t, bbolt.Options{PageSize: size}, fill("before", 5, revKey, fixed(9)), fill("key", 6000, revKey, fixed(60)), nest)
	r := rand.New(rand.NewPCG(1, 1))
	apart := 0
	for n := range 150 {
		bad := slices.Clone(data)
		switch n % 3 {
		case 1: // a byte
			for range 1 + r.IntN(3) {
				bad[2*size+r.IntN(len(bad)-2*size)] ^= 1 << r.IntN(8)
			}
		case 2: // a page in the place of another one
			from, to := 2+r.IntN(len(bad)/size-2), 2+r.IntN(len(bad)/size-2)
			copy(bad[to*size:(to+1)*size], bad[from*size:(from+1)*size])
		}
		var want, got seen
		db := open(t, bad)
		inOrder := db.CheckLeaves(&want, 1, nil)
		other := open(t, bad)
		inParts := other.CheckLeaves(&got, 2+n%4, together)
		if d := cmp.Diff(inOrder, inParts); d != "" {
			t.Fatalf("file %d: %s", n, d)
		}
		if !slices.Equal(want.pages, got.pages) || !slices.Equal(db.check().kinds, other.check().kinds) {
			t.Fatalf("file %d: %d pages, not %d", n, len(got.pages), len(want.pages))
		}
		if got.forks > 0 {
			apart++
		} else if n%3 == 0 {
			t.Fatalf("file %d was not read in parts", n)
		}
	}
	if apart < 60 || apart > 120 {
		t.Errorf("%d of 150 files were read in parts", apart)
	}
}
