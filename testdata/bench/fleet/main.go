// Command fleet runs etcd-autopsy on thousands of members, one process for all of them, and asks the tables that it exports with DuckDB.
// It is a module of its own: neither DuckDB nor Prometheus is a dependency of the product.
//
//	go run . -autopsy ../../../etcd-autopsy -members DIR -tables DIR -readme ../../../README.md
//
// members holds cluster-0000/a/ and so on, as testdata/gen fleet makes them.
package main

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

func main() {
	autopsy := flag.String("autopsy", "", "the program")
	members := flag.String("members", "", "directory with cluster-0000/a/ and so on")
	tables := flag.String("tables", "", "directory to export to")
	readme := flag.String("readme", "", "the file whose queries are run")
	flag.Parse()
	if err := run(*autopsy, *members, *tables, *readme); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(autopsy, members, tables, readme string) error {
	tmp, err := os.MkdirTemp("", "etcd-autopsy-fleet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Println("| command | backups | exit statuses | seconds | a second | anonymous memory | resident |\n| --- | --- | --- | --- | --- | --- | --- |")
	for _, command := range []string{"inspect", "check", "verify"} {
		lines := filepath.Join(tmp, command+".jsonl")
		for _, args := range [][]string{{"-w", "json"}, {"-w", "json", "--skip-done", lines}} {
			out := lines
			if len(args) > 2 {
				out = filepath.Join(tmp, "again.jsonl")
			}
			p, err := once(out, autopsy, append([]string{command, "--each", members}, args...)...)
			if err != nil {
				return err
			}
			n, statuses, err := count(out)
			if err != nil {
				return err
			}
			fmt.Printf("| %s --each | %d | %s | %.2f | %.0f | %d MiB | %d MiB |\n", command, n, statuses, p.seconds, float64(n)/p.seconds, p.anonymous>>10, p.resident>>10)
		}
	}
	metrics := filepath.Join(tmp, "metrics")
	if _, err := once(metrics, autopsy, "verify", "--each", members, "-w", "openmetrics"); err != nil {
		return err
	}
	if err := parsed(metrics); err != nil {
		return err
	}
	clusters, err := filepath.Glob(filepath.Join(members, "cluster-*"))
	if err != nil {
		return err
	}
	start := time.Now()
	for _, c := range clusters {
		if _, err := once(os.DevNull, autopsy, "export", c, "-o", tables, "--force"); err != nil {
			return err
		}
	}
	fmt.Printf("\n%d clusters exported in %.1f s\n", len(clusters), time.Since(start).Seconds())
	return ask(tables, readme)
}

// parsed reads metrics with the parser of Prometheus.
func parsed(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	p := textparse.NewOpenMetricsParser(b, labels.NewSymbolTable())
	for n := 0; ; {
		switch e, err := p.Next(); {
		case errors.Is(err, io.EOF):
			fmt.Printf("\n%d samples in %d bytes of OpenMetrics are read by Prometheus\n", n, len(b))
			return nil
		case err != nil:
			return fmt.Errorf("Prometheus does not read the metrics: %w", err)
		case e == textparse.EntrySeries:
			n++
		}
	}
}

type process struct {
	seconds             float64
	anonymous, resident int64 // at most, in KiB; anonymous as sampled
}

// once runs the program, whose exit status may say that it found something.
func once(out, program string, args ...string) (*process, error) {
	f, err := os.Create(out)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout = f
	var said strings.Builder
	cmd.Stderr = &said
	p := &process{}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
				p.anonymous = max(p.anonymous, anonymous(cmd.Process.Pid))
			}
		}
	}()
	err = cmd.Wait()
	p.seconds = time.Since(start).Seconds()
	close(done)
	<-sampled
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() == 2) {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, said.String())
	}
	p.resident = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	return p, nil
}

func anonymous(pid int) (n int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "RssAnon:" {
			n, _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	return n
}

// count reads lines of --each -w json.
func count(path string) (n int, statuses string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	of := map[int]int{}
	for d := json.NewDecoder(bufio.NewReaderSize(f, 1<<20)); ; n++ {
		var x struct {
			Status int `json:"exit_status"`
		}
		if err := d.Decode(&x); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, "", err
		}
		of[x.Status]++
	}
	var all []string
	for _, s := range slices.Sorted(maps.Keys(of)) {
		all = append(all, fmt.Sprintf("%d: %d", s, of[s]))
	}
	return n, strings.Join(all, ", "), nil
}

// questions are what one asks of a fleet.
var questions = []struct{ what, query string }{
	{"How much there is", `SELECT count(DISTINCT cluster) clusters, count(*) members, sum(rows) revisions, count(*) FILTER (NOT complete) not_complete FROM members`},
	{
		"Which clusters diverged, and at which raft entry",
		`SELECT cluster, any_value(parted_first) "from", any_value(parted_last) "to", string_agg(member, ', ' ORDER BY member) FILTER (faulty) faulty
		FROM members WHERE verdict = 'diverged' GROUP BY cluster ORDER BY cluster LIMIT 5`,
	},
	{"Of how many", `SELECT verdict, count(DISTINCT cluster) clusters FROM members GROUP BY verdict ORDER BY verdict`},
	{
		"In which clusters members hold different rows of one revision, above what is compacted",
		`WITH whole AS (SELECT cluster, member, time, max(compact_revision) OVER (PARTITION BY cluster) AS compacted FROM members WHERE complete),
		odd AS (SELECT cluster FROM revisions JOIN whole USING (cluster, member, time) WHERE revision > compacted
		GROUP BY cluster, revision, sub HAVING count(DISTINCT (key, key_base64, tombstone, value_sha256)) > 1)
		SELECT count(DISTINCT cluster) clusters FROM odd`,
	},
	{
		"Which keys grew fastest, of each cluster the first: bytes written to a key in a thousand revisions of its member",
		`WITH span AS (SELECT cluster, member, time, max(revision) - min(revision) + 1 AS revisions FROM revisions GROUP BY ALL)
		SELECT r.cluster, r.key, count(*) puts, sum(r.value_size) bytes, round(1000 * sum(r.value_size) / any_value(s.revisions)) in_a_thousand
		FROM revisions r JOIN span s USING (cluster, member, time) WHERE member = 'a' AND NOT tombstone GROUP BY r.cluster, r.key
		QUALIFY row_number() OVER (PARTITION BY r.cluster ORDER BY in_a_thousand DESC, r.key) = 1 ORDER BY in_a_thousand DESC, r.cluster LIMIT 5`,
	},
	{"Which members never compacted", `SELECT cluster, member, revision FROM members WHERE has_db AND complete AND compact_revision = 0 ORDER BY ALL LIMIT 5`},
	{"Of how many", `SELECT count(*) never_compacted, count(DISTINCT cluster) clusters FROM members WHERE has_db AND complete AND compact_revision = 0`},
	{
		"Which files of one cluster a query opens",
		`SELECT count(DISTINCT filename) files FROM read_parquet('%s/revisions/**/*.parquet', hive_types_autocast = false, filename = true) WHERE cluster = (SELECT min(cluster) FROM members)`,
	},
}

func ask(tables, readme string) error {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, t := range []string{"differences", "effects", "entries", "leases", "members", "revisions"} {
		// Ids of digits alone would be taken for numbers.
		q := fmt.Sprintf("CREATE VIEW %s AS FROM read_parquet('%s/%s/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)", t, tables, t)
		if _, err := db.Exec(q); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	for _, q := range questions {
		if err := answer(db, q.what, strings.ReplaceAll(q.query, "%s", tables)); err != nil {
			return err
		}
	}
	if readme == "" {
		return nil
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	n := 0
	for _, l := range strings.Split(string(text), "\n") {
		q, ok := strings.CutPrefix(l, `    duckdb -c "`)
		if !ok {
			continue
		}
		n++
		if err := answer(db, "README.md, "+strconv.Itoa(n), strings.ReplaceAll(strings.TrimSuffix(q, `"`), "'tables/", "'"+tables+"/")); err != nil {
			return err
		}
	}
	if n == 0 {
		return errors.New("no query in " + readme)
	}
	return nil
}

const most = 10 // rows of an answer that are printed

func answer(db *sql.DB, what, query string) error {
	start := time.Now()
	rows, err := db.Query(query)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	var lines []string
	n := 0
	for ; rows.Next(); n++ {
		values, at := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			at[i] = &values[i]
		}
		if err := rows.Scan(at...); err != nil {
			return err
		}
		cells := make([]string, len(values))
		for i, v := range values {
			cells[i] = fmt.Sprintf("%q", fmt.Sprint(v))
			cells[i] = cells[i][1 : len(cells[i])-1]
		}
		if n < most {
			lines = append(lines, strings.Join(cells, " | "))
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Printf("\n%s (%.1f s)\n  %s\n  %s\n", what, time.Since(start).Seconds(), strings.Join(names, " | "), strings.Join(lines, "\n  "))
	if n > most {
		fmt.Printf("  and %d more\n", n-most)
	}
	return nil
}
