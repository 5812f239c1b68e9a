// Command bench runs etcd-autopsy and the tools that people use in its place on the same members, and prints a table.
// It is a module of its own: what it builds is no dependency of the product.
//
//	go run . -autopsy ../../etcd-autopsy -tools DIR -members DIR [-runs 3]
//
// members holds a/, b/ and c/ as testdata/gen makes them. tools holds etcdutl, etcd-dump-db and bbolt. Whatever writes to
// the file it reads gets a copy.
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
)

// task is one command line. Alone it is a row; peer names the row that it is compared with.
type task struct {
	name string
	cmd  string // for sh -c
	peer string
	want string // what the ratio should be at most
}

type result struct {
	seconds []float64
	rss     int64 // anonymous memory at most, in KiB, as sampled
	err     error
}

func main() {
	autopsy := flag.String("autopsy", "", "the program")
	tools := flag.String("tools", "", "directory with the peers")
	members := flag.String("members", "", "directory with a/, b/ and c/")
	runs := flag.Int("runs", 3, "how often each is run; the median is shown")
	flag.Parse()
	if err := run(*autopsy, *tools, *members, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(autopsy, tools, members string, runs int) error {
	tmp, err := os.MkdirTemp("", "etcd-autopsy-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var dbs []string
	for _, m := range []string{"a", "b", "c"} {
		dbs = append(dbs, filepath.Join(members, m, "member", "snap", "db"))
	}
	two := make([]string, 2)
	for i, m := range []int{0, 2} {
		two[i] = filepath.Join(tmp, fmt.Sprint(i, ".db"))
		if err := copyFile(two[i], dbs[m]); err != nil {
			return err
		}
	}
	tool := func(name string) string { return filepath.Join(tools, name) }
	dump := func(db, out string) string {
		return fmt.Sprintf("%s iterate-bucket %s key --decode > %s", tool("etcd-dump-db"), db, out)
	}
	out := func(n int) string { return filepath.Join(tmp, fmt.Sprint("dump", n)) }
	// Each stands close to what it is compared with; what fills memory and disk comes last, and cat of everything behind it.
	tasks := []task{
		{"cat of the three dbs", "cat " + strings.Join(dbs, " ") + " > /dev/null", "", ""},
		{"**etcd-autopsy diff** of three", autopsy + " diff " + members, "cat of the three dbs", "3"},
		{"the same, against dumping two", "", "etcd-dump-db of two, and diff", "0.033"},
		{"cat of one db", "cat " + dbs[0] + " > /dev/null", "", ""},
		{"**etcd-autopsy inspect** of one", autopsy + " inspect " + filepath.Join(members, "a"), "cat of one db", "3"},
		{"**etcd-autopsy hash** of one", autopsy + " hash " + dbs[0], "etcdutl hashkv of one", "0.5"},
		{"etcdutl hashkv of one", tool("etcdutl") + " hashkv " + two[0], "", ""},
		{"**etcd-autopsy check** of one", autopsy + " check " + filepath.Join(members, "a"), "bbolt check of one", "3"},
		{"bbolt check of one", tool("bbolt") + " check " + two[0], "", ""},
		{"**etcd-autopsy report** on three", "rm -rf " + tmp + "/report; " + autopsy + " report " + members + " -o " + tmp + "/report", "sha256sum of the three dbs, two at a time", "1.2"},
		{"sha256sum of the three dbs, two at a time", "printf '%s\\n' " + strings.Join(dbs, " ") + " | xargs -P 2 -n 1 sha256sum", "", ""},
		{"etcd-dump-db of two, and diff", dump(two[0], out(0)) + "; " + dump(two[1], out(1)) + "; diff " + out(0) + " " + out(1) + " > /dev/null", "", ""},
	}
	results := map[string]*result{}
	for _, t := range tasks {
		if t.cmd == "" {
			results[t.name] = results["**etcd-autopsy diff** of three"]
			continue
		}
		results[t.name] = &result{}
	}
	for range runs {
		for _, t := range tasks {
			if t.cmd != "" {
				settle(out(0), out(1))
				results[t.name].once(t.cmd)
			}
		}
	}
	fmt.Println("| command | seconds | anonymous memory | ratio | aim |\n| --- | --- | --- | --- | --- |")
	for _, t := range tasks {
		r := results[t.name]
		if r.err != nil {
			return fmt.Errorf("%s: %w", t.name, r.err)
		}
		ratio := ""
		if t.peer != "" {
			ratio = fmt.Sprintf("%.2f of %s", r.median()/results[t.peer].median(), t.peer)
		}
		fmt.Printf("| %s | %.2f | %d MiB | %s | %s |\n", t.name, r.median(), r.rss>>10, ratio, t.want)
	}
	return nil
}

// settle removes what a run has written, and waits until the disk is done with it: that is not the next one's time.
func settle(left ...string) {
	for _, l := range left {
		_ = os.Remove(l)
	}
	syscall.Sync()
}

func (r *result) median() float64 {
	s := slices.Sorted(slices.Values(r.seconds))
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
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				r.rss = max(r.rss, anonymous(cmd.Process.Pid))
			}
		}
	}()
	err := cmd.Wait()
	r.seconds = append(r.seconds, time.Since(start).Seconds())
	close(done)
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		r.err = err
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
