// Command bench runs etcd-autopsy, a walk over all rows, and the tools that people use in its place on the same members, and prints a table.
// It is a module of its own: what it builds is no dependency of the product.
//
//	go run . -autopsy ../../etcd-autopsy -tools DIR -members DIR [-runs 3] [-only TEXT]
//
// members holds the sets that testdata/gen makes: big, with members a, b and c; compacted, where what they parted at is compacted away;
// log, with many entries; and five, with as many members. tools holds walk, etcdutl, etcd-dump-db and bbolt. Whatever writes to the file it
// reads gets a copy. Files are read from the disk in order before they are used, but where the name says otherwise: how they came into the
// page cache decides how fast they are mapped.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// task is one command line. Alone it is a row; peer names the row that it is compared with.
type task struct {
	name   string
	cmd    string // for sh -c
	peer   string
	want   string   // what it should be at most
	before func()   // runs before each run, and is not timed
	writes []string // what a run leaves behind
}

type result struct {
	seconds []float64
	cpu     []float64
	anon    int64 // anonymous memory at most, in KiB, as sampled
	err     error
}

func main() {
	b := bench{results: map[string]*result{}}
	flag.StringVar(&b.autopsy, "autopsy", "", "the program")
	flag.StringVar(&b.tools, "tools", "", "directory with the peers")
	flag.StringVar(&b.members, "members", "", "directory with the sets of members")
	flag.StringVar(&b.only, "only", "", "only rows that have this in their name, and those that they are compared with")
	flag.IntVar(&b.runs, "runs", 3, "how often each is run; the median is shown")
	flag.Parse()
	if err := b.run(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

type bench struct {
	autopsy, tools, members, only string
	runs                          int
	tmp                           string
	results                       map[string]*result
}

func (b *bench) run() (err error) {
	if b.tmp, err = os.MkdirTemp(filepath.Dir(b.members), "bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.tmp)
	tasks, err := b.tasks()
	if err != nil {
		return err
	}
	for _, dir := range []string{"big", "compacted", "log", "five"} {
		b.warm(filepath.Join(b.members, dir))
	}
	for range b.runs {
		for _, t := range tasks {
			if b.results[t.name] == nil {
				b.results[t.name] = &result{}
			}
			if t.before != nil {
				t.before()
			}
			syscall.Sync() // what another run has written is not this one's time
			b.results[t.name].once(t.cmd)
			for _, w := range t.writes {
				_ = os.RemoveAll(w)
			}
		}
	}
	fmt.Println("| command | seconds | CPU seconds | anonymous memory | ratio | aim |\n| --- | --- | --- | --- | --- | --- |")
	for _, t := range tasks {
		r := b.results[t.name]
		if r.err != nil {
			return fmt.Errorf("%s: %w", t.name, r.err)
		}
		ratio := ""
		if p := b.results[t.peer]; p != nil {
			ratio = fmt.Sprintf("%.2f of %s", median(r.seconds)/median(p.seconds), t.peer)
		}
		fmt.Printf("| %s | %.2f | %.2f | %d MiB | %s | %s |\n", t.name, median(r.seconds), median(r.cpu), r.anon>>10, ratio, t.want)
	}
	return nil
}

// tasks are all rows in the order in which they run: each stands close to what it is compared with.
func (b *bench) tasks() ([]task, error) {
	in := func(set string, members ...string) (dirs, dbs string) {
		for _, m := range members {
			dir := filepath.Join(b.members, set, m)
			dirs += " " + dir
			dbs += " " + filepath.Join(dir, "member", "snap", "db")
		}
		return dirs, dbs
	}
	three, dbs := in("big", "a", "b", "c")
	two, dbs2 := in("big", "a", "b") // they are equal
	one, db := in("big", "a")
	compacted, compactedDBs := in("compacted", "a", "b", "c")
	long, longDBs := in("log", "a", "b", "c")
	long1, longDB := in("log", "a")
	five, fiveDBs := in("five", "a", "b", "c", "d", "e")
	tool := func(name string) string { return filepath.Join(b.tools, name) }
	walk := func(dbs string) string { return tool("walk") + dbs }
	run := func(args ...string) string { return b.autopsy + " " + strings.Join(args, " ") }
	tmp := func(name string) string { return filepath.Join(b.tmp, name) }
	copied := make([]string, 2)
	for i, m := range []string{"a", "c"} {
		copied[i] = tmp(m + ".db")
		if err := copyFile(copied[i], filepath.Join(b.members, "big", m, "member", "snap", "db")); err != nil {
			return nil, err
		}
	}
	dump := func(db, out string) string {
		return fmt.Sprintf("%s iterate-bucket %s key --decode > %s", tool("etcd-dump-db"), db, out)
	}
	again := func() { // as somebody has them who has just copied them
		_ = exec.Command("cp", "-r", filepath.Join(b.members, "big"), tmp("copies")).Run()
	}
	cold := func() { forget(filepath.Join(b.members, "big")) }
	const key = "/registry/configmaps/default/object-000000100"
	all := []task{
		{name: "cat of three dbs", cmd: "cat " + dbs + " > /dev/null"},
		{name: "walk of three dbs", cmd: walk(dbs)},
		{name: "**diff** of three", cmd: run("diff", three), peer: "walk of three dbs", want: "2.5"},
		{name: "walk of two dbs", cmd: walk(dbs2)},
		{name: "**diff** of two that are equal", cmd: run("diff", two), peer: "walk of two dbs", want: "1.5, 128 MiB"},
		{name: "walk of three compacted dbs", cmd: walk(compactedDBs)},
		{name: "**diff** of three, parting compacted away", cmd: run("diff", compacted), peer: "walk of three compacted dbs", want: "2.5"},
		{name: "walk of three dbs, 300,000 entries", cmd: walk(longDBs)},
		{name: "**diff** of three, 300,000 entries", cmd: run("diff", long), peer: "walk of three dbs, 300,000 entries", want: "2.5 and 1.5 s"},
		{name: "walk of five dbs", cmd: walk(fiveDBs)},
		{name: "**diff** of five", cmd: run("diff", five), peer: "walk of five dbs", want: "2.5"},

		{name: "walk of one db", cmd: walk(db)},
		{name: "**inspect** of one", cmd: run("inspect", one), peer: "walk of one db", want: "2"},
		{name: "**check** of one", cmd: run("check", one), peer: "walk of one db", want: "2"},
		{name: "**hash** of one", cmd: run("hash", one), peer: "walk of one db", want: "2"},
		{name: "**stats** of one", cmd: run("stats", one), peer: "walk of one db", want: "3"},
		{name: "**inspect --quick** of one", cmd: run("inspect", "--quick", one), want: "0.1 s"},
		{name: "**history** of one key", cmd: run("history", key, one), peer: "walk of one db"},
		{name: "**get** of one key", cmd: run("get", key, one), peer: "walk of one db"},
		{name: "etcdutl hashkv of one", cmd: tool("etcdutl") + " hashkv " + copied[0]},
		{name: "bbolt check of one", cmd: tool("bbolt") + " check " + copied[0]},

		{name: "walk of one db, 300,000 entries", cmd: walk(longDB)},
		{name: "**log** of 300,000 entries", cmd: run("log", long1), peer: "walk of one db, 300,000 entries", want: "2 and 2 s"},
		{name: "**check** of 300,000 entries", cmd: run("check", long1), peer: "walk of one db, 300,000 entries", want: "2 and 2 s"},
		{name: "**history** of one key, 300,000 entries", cmd: run("history", key, long1), peer: "walk of one db, 300,000 entries"},

		{name: "**report** on three", cmd: run("report", three, "-o", tmp("report")), peer: "sha256sum of three dbs, two at a time", want: "1.2", writes: []string{tmp("report")}},
		{name: "sha256sum of three dbs, two at a time", cmd: "printf '%s\\n' " + dbs + " | xargs -P 2 -n 1 sha256sum"},
		{name: "**timeline** of three", cmd: run("timeline", three), peer: "walk of three dbs", want: "4"},
		{name: "**recover** of one", cmd: run("recover", one, "-o", tmp("recovered.db")), peer: "walk of one db", want: "4, and a copy and a sha256", writes: []string{tmp("recovered.db")}},
		{name: "cp of one, and sha256sum", cmd: "cp " + db + " " + tmp("copy.db") + " && sha256sum " + tmp("copy.db"), writes: []string{tmp("copy.db")}},
		{name: "**version**", cmd: run("version"), want: "0.03 s"},

		{name: "**diff** of three, just copied", cmd: run("diff", tmp("copies")), peer: "walk of three dbs", want: "3.3", before: again, writes: []string{tmp("copies")}},
		{name: "cat of three dbs, cold", cmd: "cat " + dbs + " > /dev/null", before: cold},
		{name: "**diff** of three, cold", cmd: run("diff", three), peer: "cat of three dbs, cold", want: "1.3", before: cold},
		{name: "etcd-dump-db of two, and diff", cmd: dump(copied[0], tmp("0")) + "; " + dump(copied[1], tmp("1")) + "; diff " + tmp("0") + " " + tmp("1") + " > /dev/null", writes: []string{tmp("0"), tmp("1")}},
	}
	if b.only == "" {
		return all, nil
	}
	wanted := map[string]bool{}
	for _, t := range all {
		if strings.Contains(t.name, b.only) {
			wanted[t.name], wanted[t.peer] = true, true
		}
	}
	return slices.DeleteFunc(all, func(t task) bool { return !wanted[t.name] }), nil
}

// warm reads files from the disk in order, so that they lie in the page cache in large pieces.
func (b *bench) warm(dir string) {
	forget(dir)
	each(dir, func(f *os.File) { _, _ = io.Copy(io.Discard, f) })
}

// forget takes files out of the page cache.
func forget(dir string) {
	syscall.Sync()
	each(dir, func(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) })
}

func each(dir string, use func(f *os.File)) {
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		use(f)
		return nil
	})
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2]
}

// once runs a command line and samples the memory of all its processes.
func (r *result) once(line string) {
	cmd := exec.Command("sh", "-c", line)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		r.err = err
		return
	}
	done := make(chan struct{})
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				r.anon = max(r.anon, anonymous(cmd.Process.Pid))
			}
		}
	}()
	err := cmd.Wait()
	r.seconds = append(r.seconds, time.Since(start).Seconds())
	r.cpu = append(r.cpu, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	close(done)
	<-sampled
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1 && exit.ExitCode() != 3) {
		r.err = fmt.Errorf("%s: %w", line, err)
	}
}

// anonymous is the anonymous memory of a process and its children in KiB.
func anonymous(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	var n int64
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "RssAnon:" {
			n, _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	c, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(c)) {
		if child, err := strconv.Atoi(f); err == nil {
			n += anonymous(child)
		}
	}
	return n
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
