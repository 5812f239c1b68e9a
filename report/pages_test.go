package report

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/bugs"
	"etcd-autopsy/diff/messages"
	"etcd-autopsy/diff/recovery"
	"etcd-autopsy/diff/remedy"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/diff/values"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/backup"
	"etcd-autopsy/inspect/inspecttest"
	"etcd-autopsy/inspect/serverlog"
	"etcd-autopsy/inspect/stats"
)

var update = flag.Bool("update", false, "rewrite the pages of testdata")

const pagesFile = "testdata/pages.txtar"

// cluster is that of testdata/pages.txtar.
type cluster struct {
	*inspect.Set
	logs []story.Log
	old  *inspect.Member
}

// pagesOf are the cluster, the file, and those of its parts that are pages.
func pagesOf(t *testing.T) (c *cluster, file *txtar.Archive, pages []txtar.File) {
	t.Helper()
	file, err := txtar.ParseFile(pagesFile)
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for i, f := range file.Files {
		if pages = file.Files[i:]; strings.HasPrefix(f.Name, "etcd-autopsy ") {
			break
		}
		text[f.Name] = string(f.Data)
	}
	open := func(args ...string) *inspect.Set {
		set, err := inspect.Open(t.Context(), args, inspect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := set.Close(); err != nil {
				t.Error(err)
			}
		})
		return set
	}
	var args []string
	for i, name := range []string{"a", "b", "c"} {
		args = append(args, name+"="+inspecttest.Dir(t, fmt.Sprintf("node %d\n", i+1)+text["log"]+text["tables"]+text["rows of "+name]))
	}
	c = &cluster{Set: open(args...), old: open("before=" + inspecttest.Dir(t, text["rows before"])).Members[0]}
	log, err := serverlog.Scan(t.Context(), serverlog.NewReader(strings.NewReader(text["server log of b"])))
	if err != nil {
		t.Fatal(err)
	}
	c.logs = []story.Log{{Member: "b", File: "server-b.log", Log: log}}
	return c, file, pages
}

func investigate(ctx context.Context, ms []*inspect.Member) *diff.Document {
	return diff.Investigate(ctx, ms, diff.Options{})
}

// options are the flags of a command line, by their names.
func options(words []string) (args []string, flags map[string]string) {
	flags = map[string]string{}
	for i := 0; i < len(words); i++ {
		if !strings.HasPrefix(words[i], "-") {
			args = append(args, words[i])
			continue
		}
		name, value, given := strings.Cut(strings.TrimLeft(words[i], "-"), "=")
		if !given && name == "w" {
			i++
			value = words[i]
		}
		flags[name] = value
	}
	return args, flags
}

// run writes what a command line says of the cluster.
func (c *cluster) run(t *testing.T, w io.Writer, line string) error {
	t.Helper()
	args, flags := options(strings.Fields(line)[1:])
	format, err := ParseFormat(flags["w"])
	if flags["w"] == "" {
		format = Table
	} else if err != nil && flags["w"] != "yaml" && flags["w"] != "openmetrics" {
		t.Fatal(err)
	}
	number := func(name string) int {
		n, err := strconv.Atoi("0" + flags[name])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	has := func(name string) bool { _, ok := flags[name]; return ok }
	text := func(name string) *string {
		if s, ok := flags[name]; ok {
			return &s
		}
		return nil
	}
	ms := c.Members
	if only := flags["of"]; only != "" {
		ms = slices.DeleteFunc(slices.Clone(ms), func(m *inspect.Member) bool { return !strings.Contains(only, m.Label) })
	}
	l := diff.NewLedger(ms)
	switch args[0] {
	case "get":
		d := values.Get(ms, args[1], values.Options{Revision: int64(number("rev")), Secrets: has("show-values")})
		if flags["w"] == "yaml" {
			return Object(w, d, YAML)
		}
		if has("object") {
			return Object(w, d, JSON)
		}
		return Get(w, d, format)
	case "namespace":
		n, err := values.GetNamespace(ms[0], args[1], 0)
		if err != nil {
			return err
		}
		return Objects(w, n, format)
	case "history":
		return History(w, l.Biography(diff.BiographyQuery{Key: &args[1]}), HistoryOptions{}, format)
	case "plan":
		d, err := remedy.Make(t.Context(), &remedy.Request{Members: ms, Args: []string{"a/", "b/", "c/"}, Compare: investigate, From: flags["from"], Preview: has("preview")})
		if err != nil {
			t.Fatal(err)
		}
		return Planned(w, d, format)
	case "recover":
		out := filepath.Join(t.TempDir(), "recovered.db")
		d, err := recovery.Recover(t.Context(), &recovery.Request{Members: ms, Compare: investigate, Moment: recovery.Moment{Kind: recovery.AtEntry, N: uint64(number("at-entry"))}}, out)
		if err != nil {
			return err
		}
		d.File = filepath.Base(d.File)
		return Recovered(w, d, format, []string{"etcdutl snapshot restore recovered.db --data-dir restored"})
	case "timeline":
		d := story.Tell(diff.Investigate(t.Context(), ms, diff.Options{ServerLogs: func() map[string][]diff.ServerLog { return story.Runs(c.logs) }}), c.logs)
		if at := flags["around"]; at != "" {
			if err := d.Around(at); err != nil {
				t.Fatal(err)
			}
		}
		return Timeline(w, d, format)
	case "verify":
		v := NewVerification()
		var last *inspect.Member
		for _, m := range ms {
			r := backup.Verify(m)
			if last != nil {
				r.Relation = backup.Relate(m, last, "backups/"+last.Label+".db")
			}
			v.Add("backups/"+m.Label+".db", r)
			last = m
		}
		return Verified(w, v, format)
	case "match":
		hits, err := messages.Scan(t.Context(), serverlog.NewReader(strings.NewReader(strings.ReplaceAll(args[1], "_", " ")+"\n")))
		if err != nil {
			t.Fatal(err)
		}
		return Matches(w, NewMatches(hits), format)
	case "bugs":
		return BugDetails(w, NewBugs(slices.DeleteFunc(bugs.All(), func(b *bugs.Bug) bool { return b.ID != args[1] })), format)
	case "version":
		return Version(w, &Versions{Version: "v1", Revision: "abc", Modified: true, Go: "go1.26", Platform: "linux/amd64", Etcd: "v3.7.0"}, format)
	case "log":
		return Entries(t.Context(), w, l, LogOptions{
			First: uint64(number("from")), Last: uint64(number("to")), Key: text("key"), Prefix: text("prefix"), Namespace: text("namespace"), Types: strings.Fields(flags["type"]),
			NoEffect: has("no-effect"), Differ: has("differ"), Values: has("values"), Limit: number("limit"), Tail: number("tail"), Revision: int64(number("rev")),
		}, format)
	case "dump":
		return Dump(t.Context(), w, ms[0], DumpOptions{Bucket: flags["bucket"], Revision: int64(number("rev")), KeysOnly: has("keys-only"), Values: has("values"), Limit: number("limit")}, format)
	case "stats":
		if has("since") {
			return Stats(w, CountSince(ms[0], c.old, stats.Options{Depth: 2, Top: 3}), format)
		}
		return Stats(w, Count(ms, stats.Options{Depth: 2, Top: 3}), format)
	case "diff":
		d := investigate(t.Context(), ms)
		if flags["w"] == "openmetrics" {
			return DiffMetrics(w, d, 1, ms)
		}
		return Diff(w, d, format, has("full"))
	case "inspect":
		return QuickInspect(w, GlanceAt(ms), format)
	case "each":
		out := NewEaches(w, format)
		for i, m := range ms {
			x := NewEach("check", "backups/"+m.Label+".db")
			x.ExitStatus, x.Size, x.Members = i, 4096, []Figures{FiguresFound(m)}
			x.Summary = []string{Check(ms).SummaryOf(), Members(ms[:1]).SummaryOf(), "no db"}[i]
			line, err := x.Line(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := out.Add(x, line); err != nil {
				return err
			}
		}
		return out.End()
	}
	t.Fatalf("no such command: %s", line)
	return nil
}

var sum = regexp.MustCompile(`sha256\s+[0-9a-f]{64}`)

// fixed is an output without what is another one each time.
func (c *cluster) fixed(text string) string {
	for _, m := range c.Members {
		text = strings.ReplaceAll(text, m.Origin, m.Label+"/")
	}
	return sum.ReplaceAllString(text, "sha256 SUM")
}

// TestPages asserts what commands say of the cluster of testdata/pages.txtar. A file there is named by the command line, but that members follow from
// --of, and holds what it writes.
func TestPages(t *testing.T) {
	t.Parallel()
	c, file, pages := pagesOf(t)
	if len(pages) < 20 {
		t.Fatalf("%d pages", len(pages))
	}
	for i := range pages {
		f := &pages[i]
		t.Run(f.Name, func(t *testing.T) {
			var b bytes.Buffer
			if err := c.run(t, &b, f.Name); err != nil {
				fmt.Fprintf(&b, "error: %v\n", err)
			}
			if *update {
				f.Data = []byte(c.fixed(b.String()))
			} else if d := cmp.Diff(string(f.Data), c.fixed(b.String())); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	if *update {
		if err := os.WriteFile(pagesFile, txtar.Format(file), 0o644); err != nil {
			t.Error(err)
		}
	}
}
