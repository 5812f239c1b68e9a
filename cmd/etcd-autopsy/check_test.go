package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/report"
)

// damage is what truth.json says about the damage, or the state, that check has to name.
type damage struct {
	Odd     []string `json:"odd_members"`
	Damaged []string `json:"damaged_members"`
	Damage  struct {
		File string   `json:"file"`
		Keys []string `json:"keys"`
		Page struct {
			ID    uint64   `json:"Pgid"`
			First [2]int64 `json:"First"`
			Last  [2]int64 `json:"Last"`
		} `json:"page"`
		Changes []struct {
			Offset int64 `json:"offset"`
		} `json:"changes"`
		Metas []struct {
			Page int64  `json:"page"`
			TxID uint64 `json:"txid"`
		} `json:"metas_before"`
		RaftEntry struct {
			Index uint64 `json:"index"`
		} `json:"raft_entry"`
		RecordOffset int64     `json:"record_offset"`
		EntryIndex   uint64    `json:"entry_index"`
		Lost         [2]uint64 `json:"raft_indexes_lost"`
		SizeAfter    int64     `json:"size_after"`
		SHA256       *bool     `json:"sha256_matches"`
		Harmless     bool      `json:"harmless"`
	} `json:"damage"`
	Base       string `json:"base"`
	Page       int64  `json:"page"`
	Offset     int64  `json:"offset"`
	FromOffset int64  `json:"from_offset"`
	RowsOnPage int    `json:"rows_on_page"`
	Copies     map[string]struct {
		Check int     `json:"bbolt_check_rc"`
		Whole *bool   `json:"copy_is_exact_prefix_of_final_revisions"` // of the rows alone
		Index int64   `json:"db_consistent_index"`
		Last  []int64 `json:"db_last_rev"`
	} `json:"copies"`
	Removed  map[string]string `json:"removed_members"`
	Affected struct {
		Zombies []string `json:"zombie_ids"`
	} `json:"affected"`
	Zombies  map[string][]string `json:"zombie_members"`
	Mismatch map[string]struct {
		Learners []string `json:"learner_differs"`
	} `json:"mismatch"`
	Promoted struct {
		ID string `json:"id_hex"`
	} `json:"promoted"`
	Stuck struct {
		ID string `json:"id_hex"`
	} `json:"stuck_learner"`
	Crashed []string `json:"crashed_members"`
	Poison  struct {
		Index uint64 `json:"raft_index"`
	} `json:"poison_entry"`
	OnDisk map[string]struct {
		Rows int `json:"key_bucket_records"`
	} `json:"on_disk"`
}

const any64 = -2 // a page or offset that the truth does not tell

// sign is a finding that a member must have.
type sign struct {
	member, code, file string
	page, offset       int64
	detail             string // a part of it
	from               int64  // where the offset is not told, the least that it can be
}

// signsOf translates what truth.json says into findings. Members that none is about must have no error.
func signsOf(t *testing.T, scenario string, d *damage) []sign {
	t.Helper()
	var odd string
	if len(d.Odd) > 0 {
		odd = d.Odd[0]
	}
	x := &d.Damage
	one := func(code, file string, page, offset int64, detail string) []sign {
		return []sign{{odd, code, file, page, offset, detail, 0}}
	}
	each := func(members []string, code, detail string) []sign {
		var all []sign
		for _, m := range members {
			all = append(all, sign{m, code, "member/snap/db", finding.NoOffset, finding.NoOffset, detail, 0})
		}
		return all
	}
	switch scenario {
	case "damaged-meta":
		newest := x.Metas[0]
		for _, m := range x.Metas {
			if m.TxID > newest.TxID {
				newest = m
			}
		}
		return one("meta-invalid", x.File, newest.Page, newest.Page*4096, "all zero")
	case "damaged-page":
		return one("page-id-mismatch", x.File, int64(x.Page.ID), x.Changes[0].Offset, "")
	case "damaged-page-zero":
		return []sign{{d.Damaged[0], "page-zero", "member/snap/db", d.Page, d.Offset, "", 0}}
	case "damaged-value":
		return one("row-differs-from-entry", x.File, int64(x.Page.ID), int64(x.Page.ID)*4096, fmt.Sprintf("entry %d,", x.RaftEntry.Index))
	case "truncated-db":
		return one("db-truncated", x.File, any64, x.SizeAfter, "")
	case "db-zero-tail":
		return []sign{{d.Damaged[0], "page-zero", "member/snap/db", any64, any64, "", d.FromOffset}}
	case "wal-crc":
		return one("wal-crc-mismatch", x.File, finding.NoOffset, x.RecordOffset, fmt.Sprintf("entry %d,", x.EntryIndex))
	case "wal-gap":
		return one("wal-segment-missing", x.File, any64, any64, fmt.Sprintf("entries %d to %d", x.Lost[0], x.Lost[1]))
	case "wal-torn":
		return one("wal-torn-tail", x.File, finding.NoOffset, x.RecordOffset, "")
	case "snap-corrupt":
		return one("snap-crc-mismatch", x.File, any64, any64, "")
	case "missing-db":
		return one("db-missing", x.File, any64, any64, "")
	case "missing-wal":
		return one("wal-missing", "member/wal", any64, any64, "")
	case "empty-dir":
		return append(one("db-missing", "member/snap/db", any64, any64, ""), one("wal-missing", "member/wal", any64, any64, "")...)
	case "garbage-db":
		return one("db-unreadable", x.File, any64, any64, "")
	case "membership-history":
		var all []sign
		for m, id := range d.Removed {
			all = append(all, sign{m, "member-removed", "member/snap/db", any64, any64, id, 0})
		}
		return append(all, each([]string{"a", "c", "d", "e"}, "alarm-on", "NOSPACE")...)
	case "zombie-members", "zombie-members-36", "zombie-learner":
		var all []sign
		for _, m := range []string{"a", "b", "c"} {
			for _, id := range append(slices.Clone(d.Affected.Zombies), d.Zombies[m]...) {
				all = append(all, each([]string{m}, "zombie-member", padded(id))...)
			}
		}
		for m, l := range d.Mismatch {
			for _, id := range l.Learners {
				all = append(all, each([]string{m}, "learner-flag-stale", padded(id))...)
			}
		}
		return all
	case "learner-promoted-not-persisted":
		return each([]string{"p1", "p2", "p3"}, "learner-flag-stale", d.Promoted.ID)
	case "learner-stuck":
		return each([]string{"n1", "n2", "n3"}, "learner-not-promoted", d.Stuck.ID)
	case "no-compaction":
		return each([]string{"solo"}, "never-compacted", fmt.Sprintf("%d revisions", d.OnDisk["solo"].Rows))
	case "mixed-authstatus-panic":
		var all []sign
		for _, m := range d.Crashed {
			all = append(all, sign{m, "entry-stops-old-server", "member/wal/0000000000000000-0000000000000000.wal", finding.NoOffset, any64, fmt.Sprintf("entry %d ", d.Poison.Index), 0})
		}
		return all
	case "hot-copy-one-blind", "hot-copy-one-subtle", "hot-copy-one-torn", "hot-copy-three-blind", "hot-copy-three-subtle", "hot-copy-three-torn":
		var all []sign
		for m, c := range d.Copies {
			if c.Check != 0 || c.Whole == nil || !*c.Whole {
				all = append(all, sign{member: m})
				continue
			}
			// Entries that make no revision only ever grow in number. Where there are fewer than another copy has that is
			// behind, the rows are newer than the meta bucket.
			for _, o := range d.Copies {
				if o.Whole != nil && *o.Whole && o.Index < c.Index && o.Index-o.Last[0] > c.Index-c.Last[0] {
					all = append(all, sign{m, "index-behind-data", "member/snap/db", any64, any64, "", 0})
				}
			}
		}
		return all
	case "truncated-db-tail", "db-is-snapshot-no-hash", "db-is-snapshot-with-hash", "hot-copy-clean", "hot-copy-one-ok", "hot-copy-three-ok":
		return nil
	}
	t.Skip("truth.json names no damage")
	return nil
}

// checkFindings asserts that check names what is known to be wrong with real members, where it is, and nothing else
// as an error; and that its figures add up.
func checkFindings(t *testing.T, name string, ms []*inspect.Member) {
	t.Helper()
	d := readDamage(t, name)
	doc := report.Check(ms)
	for i := range doc.Members {
		addsUp(t, &doc.Members[i], ms[i])
	}
	if strings.HasPrefix(name, "healthy-") {
		if doc.Verdict != report.NothingFound {
			t.Errorf("verdict %s of healthy members", doc.Verdict)
		}
		return
	}
	signs := signsOf(t, name, d)
	for _, s := range signs {
		if !slices.ContainsFunc(doc.Members, func(m report.CheckedMember) bool { return m.Label == s.member && s.in(&m) }) {
			t.Errorf("no finding %+v", s)
		}
	}
	for i := range doc.Members {
		m := &doc.Members[i]
		if m.Errors > 0 && !slices.ContainsFunc(signs, func(s sign) bool { return s.member == m.Label }) {
			t.Errorf("%s: %d errors in a member that is sound: %+v", m.Label, m.Errors, m.Findings)
		}
	}
}

// in tells whether a member has such a finding. A sign without a code asks for an error with a page that keeps something
// from being read.
func (s *sign) in(m *report.CheckedMember) bool {
	return slices.ContainsFunc(m.Findings, func(f report.FindingRecord) bool {
		if s.code == "" {
			return f.Severity == "error" && f.Page != nil && f.Unreadable
		}
		is := func(got *int64, want int64) bool {
			return want == any64 || got == nil && want == finding.NoOffset || got != nil && *got == want
		}
		if s.from > 0 && (f.Offset == nil || *f.Offset < s.from) {
			return false
		}
		return f.Code == s.code && f.File == s.file && is(f.Page, s.page) && is(f.Offset, s.offset) && strings.Contains(f.Detail, s.detail)
	})
}

// addsUp asserts that every page and every byte is accounted for.
func addsUp(t *testing.T, c *report.CheckedMember, m *inspect.Member) {
	t.Helper()
	if db := c.Coverage.DB; db != nil {
		if db.PagesRead+db.PagesFree+db.PagesUnreachable+db.PagesUnreadable != db.Pages || db.Pages != m.DB.Bolt.Meta().HighWater {
			t.Errorf("%s: pages do not add up: %+v", c.Label, db)
		}
		if db.BytesPages+db.BytesPreallocated+db.BytesHash != db.Bytes || db.Bytes != int64(len(m.DB.File.Bytes())) {
			t.Errorf("%s: bytes do not add up: %+v", c.Label, db)
		}
	}
	l := &c.Coverage.Log
	var size int64
	for _, f := range m.Files {
		if strings.HasSuffix(f.Name, ".wal") {
			size += f.Size
		}
	}
	if l.BytesRead+l.BytesPreallocated+l.BytesUnread != l.Bytes || l.Bytes != size {
		t.Errorf("%s: bytes of the log do not add up to %d: %+v", c.Label, size, l)
	}
	for _, f := range c.Findings {
		if f.Code == "" || f.Detail == "" || f.File == "" {
			t.Errorf("%s: a finding says too little: %+v", c.Label, f)
		}
	}
}

// openAll opens members until the test ends.
func openAll(t *testing.T, args ...string) []*inspect.Member {
	t.Helper()
	set, closed, err := shared.open(t.Context(), args, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closed(); err != nil {
			t.Error(err)
		}
	})
	return set.Members
}

func readDamage(t *testing.T, scenario string) *damage {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(scenarios, scenario, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	d := new(damage)
	if err := json.Unmarshal(b, d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDamagedPageLosesItsRowsAlone compares the rows of a db with a damaged page with those of a sound db.
func TestDamagedPageLosesItsRowsAlone(t *testing.T) {
	t.Parallel()
	page := readDamage(t, "damaged-page")
	zero := readDamage(t, "damaged-page-zero")
	first, last := page.Damage.Page.First, page.Damage.Page.Last
	for _, test := range []struct {
		damaged, sound string
		on             func(r *mvcc.Row) bool
		rows           int
	}{
		{"damaged-page/a", "damaged-page/b", func(r *mvcc.Row) bool {
			return r.Rev.Compare(mvcc.Revision{Main: first[0], Sub: first[1]}) >= 0 && r.Rev.Compare(mvcc.Revision{Main: last[0], Sub: last[1]}) <= 0
		}, 23},
		{"damaged-page-zero/s2", zero.Base + "/s2", func(r *mvcc.Row) bool { return r.Page == uint64(zero.Page) }, zero.RowsOnPage},
	} {
		t.Run(test.damaged, func(t *testing.T) {
			t.Parallel()
			rows := func(m string) *mvcc.Table {
				return openAll(t, filepath.Join(scenarios, filepath.FromSlash(m)+".tar.zst"))[0].DB.Rows
			}
			got, want := rows(test.damaged), rows(test.sound)
			have := map[mvcc.Revision]*mvcc.Row{}
			for _, r := range got.All() {
				have[r.Rev] = &r
			}
			lost, salvaged := 0, 0
			for _, w := range want.All() {
				g := have[w.Rev]
				delete(have, w.Rev)
				switch on := test.on(&w); {
				case on && g == nil:
					lost++
				case on && !g.Salvaged:
					t.Errorf("revision %v is on the damaged page, and not marked", w.Rev)
				case on:
					salvaged++
				case g == nil:
					t.Errorf("revision %v is missing", w.Rev)
				case g.Salvaged:
					t.Errorf("revision %v is marked as salvaged", w.Rev)
				}
				if g != nil && (g.Tombstone != w.Tombstone || !bytes.Equal(g.Value, w.Value)) {
					t.Errorf("revision %v is not what it was", w.Rev)
				}
			}
			if len(have) > 0 || lost+salvaged != test.rows {
				t.Errorf("%d rows too many, %d lost and %d salvaged, want %d together", len(have), lost, salvaged, test.rows)
			}
		})
	}
}

// TestDamagedLogLosesItsEntriesAlone compares a damaged log with that of a sound member, entry by entry.
func TestDamagedLogLosesItsEntriesAlone(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"wal-crc", "wal-gap", "wal-torn", "missing-db", "snap-corrupt", "truncated-db", "garbage-db"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			d := readDamage(t, scenario)
			first, last := d.Damage.EntryIndex, d.Damage.EntryIndex
			if d.Damage.Lost[0] > 0 {
				first, last = d.Damage.Lost[0], d.Damage.Lost[1]
			}
			var damaged, sound *inspect.Member
			for _, m := range openAll(t, filepath.Join(scenarios, scenario)) {
				if m.Label == d.Odd[0] {
					damaged = m
				} else {
					sound = m
				}
			}
			lost := 0
			for i := range sound.Log.Entries {
				w := &sound.Log.Entries[i]
				g := damaged.Log.Entry(w.Index)
				if w.Index >= first && w.Index <= last {
					if lost++; g != nil {
						t.Errorf("entry %d is there", w.Index)
					}
					continue
				}
				if g == nil {
					t.Errorf("entry %d is missing", w.Index)
				} else if after := last > 0 && w.Index > last; g.Term != w.Term || !bytes.Equal(g.Data, w.Data) || g.AfterDamage != after {
					t.Errorf("entry %d: term %d, behind damage %v, want %d and %v, and the same data", w.Index, g.Term, g.AfterDamage, w.Term, after)
				}
			}
			if want := int(last - first + 1); last > 0 && lost != want {
				t.Errorf("%d entries lost, want %d", lost, want)
			}
		})
	}
}

// TestMeta reads a db whose newest state is damaged by its older meta page.
func TestMeta(t *testing.T) {
	t.Parallel()
	sound := openAll(t, filepath.Join(scenarios, "no-compaction"))[0].DB
	newer := sound.Bolt.Meta().Slot
	data := bytes.Clone(sound.File.Bytes())
	// The root page of the newest state, which the older state does not use.
	meta := data[newer*4096:]
	root := int(meta[16+16]) | int(meta[16+17])<<8
	clear(data[root*4096:][:4096])
	file := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	older := fmt.Sprint(1 - newer)
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"check", file}, exitDiverged, "the tree of the one before it is whole: --meta " + older + " reads"},
		{[]string{"check", file, "--meta", older}, exitOK, "its newest state is meta page"},
		{[]string{"inspect", file}, exitPartial, "--meta " + older},
		{[]string{"inspect", file, "--meta", older}, exitOK, "(meta " + older + ")"},
		{[]string{"diff", file}, exitPartial, "CANNOT TELL"},
		{[]string{"diff", file, "--meta=" + older}, exitPartial, "revision"},
	} {
		out, errs, status := autopsy(t, test.args...)
		if out = strings.Join(strings.Fields(out), " "); status != test.status || !strings.Contains(out, test.want) {
			t.Errorf("%q: exit status %d, want %d; no %q in\n%s\n%s", test.args[:1], status, test.status, test.want, out, errs)
		}
	}
	if _, errs, status := autopsy(t, "check", file, "--meta", "2"); status != exitFailed || !strings.Contains(errs, "two meta pages, 0 and 1") {
		t.Errorf("exit status %d: %s", status, errs)
	}
}

// TestCheckVerdict has each exit status.
func TestCheckVerdict(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		scenario string
		status   int
	}{{"healthy-3.6", exitOK}, {"zombie-members", exitDiverged}, {"missing-wal", exitDiverged}, {"empty-dir/b.tar.zst", exitFailed}} {
		if _, errs, got := autopsy(t, "check", filepath.Join(scenarios, filepath.FromSlash(test.scenario))); got != test.status {
			t.Errorf("%s: exit status %d, want %d: %s", test.scenario, got, test.status, errs)
		}
	}
}
