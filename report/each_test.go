package report

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func eachOf(t *testing.T, path string, size int64, at time.Time, status int) (*Each, string) {
	t.Helper()
	x := NewEach("check", path)
	x.Size, x.Modified, x.ExitStatus = size, at, status
	line, err := x.Line(nil)
	if err != nil {
		t.Fatal(err)
	}
	return x, string(line)
}

// TestDone asserts what counts as done.
func TestDone(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 8, 0, 0, 1, time.UTC)
	for _, path := range []string{"a.db", "\xff\n", "\u202e", `"`} {
		_, line := eachOf(t, path, 5, at, 1)
		for _, c := range []struct {
			name   string
			text   string
			change func(x *Each)
			want   bool
		}{
			{"same", line, func(*Each) {}, true},
			{"in another zone", line, func(x *Each) { x.Modified = at.In(time.FixedZone("x", 3600)) }, true},
			{"size", line, func(x *Each) { x.Size++ }, false},
			{"time", line, func(x *Each) { x.Modified = at.Add(1) }, false},
			{"command", line, func(x *Each) { x.Command = "verify" }, false},
			{"path", line, func(x *Each) { x.File = NewEach("", "b.db").File }, false},
			{"meta", line, func(x *Each) { x.Meta = new(int) }, false},
			{"cut", strings.TrimSuffix(line, "\n"), func(*Each) {}, false},
			{"cut before", line[:len(line)/2] + "\n" + line, func(*Each) {}, true},
			{"glued", line[:len(line)/2] + line, func(*Each) {}, false},
			{"another version", strings.Replace(line, `"schema_version":"1"`, `"schema_version":"2"`, 1), func(*Each) {}, false},
			{"could not run", strings.Replace(line, `"exit_status":1`, `"exit_status":2`, 1), func(*Each) {}, false},
			{"later could not run", line + strings.Replace(line, `"exit_status":1`, `"exit_status":2`, 1), func(*Each) {}, false},
			{"long", strings.Replace(line, `"notes":[`, `"notes":["`+strings.Repeat("x", 200<<10)+`"`, 1), func(*Each) {}, true},
		} {
			var d Done
			if err := d.ReadDone(strings.NewReader(c.text)); err != nil {
				t.Fatal(err)
			}
			x, _ := eachOf(t, path, 5, at, 0)
			c.change(x)
			was, ok := d.Has(x)
			if ok != c.want || ok && was.ExitStatus != 1 {
				t.Errorf("%q, %s: %v", path, c.name, ok)
			}
			if d.Cut != (c.name == "cut") {
				t.Errorf("%q, %s: cut is %v", path, c.name, d.Cut)
			}
		}
	}
}

// FuzzReadDone reads anything as what an earlier run said: every line is counted, and a good one behind it counts.
func FuzzReadDone(f *testing.F) {
	x := NewEach("verify", "a.db")
	line, err := x.Line(&Verification{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(line))
	f.Add([]byte(line[:20]))
	f.Add([]byte("\n\n{}\nnull\n[]\n{\"command\":\"check\",\"schema_version\":\"1\",\"file\":{\"name_base64\":\"!\"}}\n\xff"))
	f.Add([]byte(`{"schema_version":"1","command":"check","file":{"name":"a.db"},"mtime":"2026","exit_status":1e9,"members":[null]}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d Done
		if err := d.ReadDone(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		want := bytes.Count(data, []byte("\n"))
		if tail := len(data) > 0 && data[len(data)-1] != '\n'; tail != d.Cut {
			t.Errorf("cut is %v", d.Cut)
		} else if tail {
			want++
		}
		if d.Lines+d.Other != want {
			t.Errorf("%d and %d lines of %d", d.Lines, d.Other, want)
		}
		good, line := eachOf(t, "good.db", int64(len(data)), time.Unix(int64(len(data)), 0), 3)
		var again Done
		if err := again.ReadDone(strings.NewReader(string(data) + "\n" + line)); err != nil {
			t.Fatal(err)
		}
		if was, ok := again.Has(good); !ok || was.ExitStatus != 3 {
			t.Error("a good line behind it does not count")
		}
	})
}
