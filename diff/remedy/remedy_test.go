package remedy

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/recovery"
	"etcd-autopsy/diff/shell"
	"etcd-autopsy/inspect"
)

func open(t *testing.T, names ...string) []*inspect.Member {
	t.Helper()
	var paths []string
	for _, n := range names {
		paths = append(paths, filepath.Join("..", "..", "testdata", n))
	}
	set, err := inspect.Open(t.Context(), paths, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	return set.Members
}

func compare(ctx context.Context, ms []*inspect.Member) *diff.Document {
	return diff.Investigate(ctx, ms, diff.Options{})
}

// TestLines asserts that every line of every procedure can be pasted, with plans for each copy of what is torn, forked and healthy.
func TestLines(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"log-fork", "damaged-page", "garbage-db", "healthy-3.6", "healthy-3.4", "lease-revoke-auth", "tampered-value", "zombie-members"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			ms := open(t, scenario)
			doc := compare(t.Context(), ms)
			for _, from := range append([]string{""}, labels(ms)...) {
				d, err := Make(t.Context(), &Request{
					Members: ms, Args: []string{"nodes/", "it's $(id)"}, From: from, Preview: true,
					Compare: func(context.Context, []*inspect.Member) *diff.Document { return doc },
				})
				if err != nil {
					t.Fatal(err)
				}
				if from != "" && d.Action == Nothing {
					t.Errorf("--from %s: %s", from, d.Action)
				}
				for _, p := range d.Procedures {
					for _, l := range p.Steps {
						if !shell.Fit(l) {
							t.Errorf("--from %s, %s: %s", from, p.Where, l)
						}
						if bump, compacted := strings.Contains(l, "--bump-revision"), strings.Contains(l, "--mark-compacted"); bump != compacted {
							t.Errorf("only one of the two flags: %s", l)
						}
					}
				}
			}
		})
	}
}

// TestPreview asserts that what one copy would lose, the other one would bring back.
func TestPreview(t *testing.T) {
	t.Parallel()
	ms := open(t, "log-fork")
	a, c := ms[0], ms[2]
	ours, theirs := compareRows(a, c, 1000), compareRows(c, a, 1000)
	if ours.GoneCount == 0 || ours.BackCount == 0 || !slices.Equal(ours.Gone, theirs.Back) || !slices.Equal(ours.Back, theirs.Gone) ||
		!slices.Equal(ours.Other, theirs.Other) || ours.SameCount != theirs.SameCount {
		t.Errorf("%+v\n%+v", ours, theirs)
	}
	if n := ours.GoneCount + ours.OtherCount + ours.SameCount; n != c.DB.Rows.CountLive() {
		t.Errorf("%d keys of %d", n, c.DB.Rows.CountLive())
	}
	if few := compareRows(a, c, 2); !slices.Equal(few.Other, ours.Other[:2]) || few.OtherCount != ours.OtherCount {
		t.Errorf("%+v", few)
	}
	same := compareRows(a, a, 2)
	if same.GoneCount+same.BackCount+same.OtherCount+same.GoneLeases+same.BackLeases != 0 {
		t.Errorf("%+v", same)
	}
}

// TestForeign refuses a file of another cluster, takes one of this cluster, and says so where nothing tells.
func TestForeign(t *testing.T) {
	t.Parallel()
	ms := open(t, "log-fork")
	doc := compare(t.Context(), ms)
	plan := func(file *inspect.Member) (*Document, error) {
		return Make(t.Context(), &Request{
			Members: ms, Args: []string{"nodes/"}, File: file, Path: "backup.db",
			Compare: func(context.Context, []*inspect.Member) *diff.Document { return doc },
		})
	}
	for _, other := range []string{"lease-revoke-auth/etcd-a.tar.zst", "healthy-3.6/s1.tar.zst"} {
		_, err := plan(open(t, other)[0])
		if r, ok := errors.AsType[*recovery.Refusal](err); !ok || !strings.Contains(r.Why, "is of another cluster") {
			t.Errorf("%s: %v", other, err)
		}
	}
	doubts := func(file *inspect.Member) string {
		d, err := plan(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(d.Doubts, "\n")
	}
	if s := doubts(ms[2]); !strings.Contains(s, "the file and a hold different rows") || strings.Contains(s, "nothing in the file shows") {
		t.Errorf("a side of the fork: %s", s)
	}
	rows := &inspect.Member{Label: "empty", Log: ms[0].Log, DB: ms[0].DB}
	if s := doubts(rows); strings.Contains(s, "nothing in the file shows") {
		t.Errorf("its own rows: %s", s)
	}
}
