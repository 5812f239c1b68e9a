// Command recover shows that what `etcd-autopsy recover` writes is what a server has: each file is restored by etcdutl, a cluster of one member
// is started on it, and what that answers through its API is compared with what was said about the file and, by `etcd-autopsy hash`, with the copy
// whose life it is.
//
//	go run ./recover -autopsy ../../etcd-autopsy -tools DIR -testdata .. [-n 20] [-every 50] [-only SCENARIO]
//
// tools holds etcdutl and server, the etcd server. It exits with 1 if anything differs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// document is what of the output of recover is compared.
type document struct {
	Entry        uint64 `json:"entry"`
	Revision     int64  `json:"revision"`
	Compact      int64  `json:"compact_revision"`
	Keys         int64  `json:"keys"`
	Leases       int    `json:"leases"`
	AuthEnabled  bool   `json:"auth_enabled"`
	AuthRevision uint64 `json:"auth_revision"`
	HashKV       uint32 `json:"hash_kv"`
	Whole        bool   `json:"whole"`
	Proven       bool   `json:"proven"`
}

// hashes is what of the output of hash is compared.
type hashes struct {
	Members []struct {
		HashKV  uint32 `json:"hash_kv"`
		Error   string `json:"error"`
		Compact int64  `json:"compact_revision"`
	} `json:"members"`
}

type rig struct{ autopsy, tools, testdata, work string }

func main() {
	var r rig
	flag.StringVar(&r.autopsy, "autopsy", "", "the program")
	flag.StringVar(&r.tools, "tools", "", "the directory of etcdutl and server")
	flag.StringVar(&r.testdata, "testdata", "..", "the directory of the scenarios")
	n := flag.Int("n", 20, "entries at random of each member")
	every := flag.Uint64("every", 50, "of a healthy member every so manieth entry")
	only := flag.String("only", "", "a scenario")
	flag.Parse()
	failed, done := 0, 0
	try := func(scenario, member string, entry uint64) {
		if *only != "" && *only != scenario {
			return
		}
		done++
		if err := r.try(scenario, member, entry); err != nil {
			failed++
			fmt.Printf("%s %s at entry %d: %v\n", scenario, member, entry, err)
		}
	}
	random := rand.New(rand.NewPCG(1, 1))
	for _, s := range []struct {
		name    string
		members []string
		last    uint64
	}{
		{"damaged-page", []string{"a"}, 889},
		{"damaged-value", []string{"b"}, 889},
		{"damaged-meta", []string{"c"}, 888},
		{"truncated-db", []string{"b"}, 889},
		{"truncated-db-tail", []string{"b"}, 889},
		{"crash-inconsistency", []string{"a", "c"}, 791},
		{"log-fork", []string{"a", "c"}, 453},
		{"lease-revoke-auth", []string{"etcd-a", "etcd-b", "etcd-c"}, 2412},
	} {
		for _, m := range s.members {
			for range *n {
				try(s.name, m, 2+random.Uint64N(s.last-1))
			}
		}
	}
	for at := *every; at < 1550; at += *every {
		try("healthy-3.6", "s1", at)
	}
	fmt.Printf("%d of %d files are what a server has\n", done-failed, done)
	if failed > 0 || done == 0 {
		os.Exit(1)
	}
}

// try recovers a member at an entry, restores that, and asks a server.
func (r *rig) try(scenario, member string, entry uint64) (err error) {
	if r.work, err = os.MkdirTemp("", "recover-e2e-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.work)) }()
	copies, file := filepath.Join(r.testdata, scenario), filepath.Join(r.work, "recovered.db")
	var d document
	if err := r.json(&d, "recover", copies, "--from", member, "--at-entry", fmt.Sprint(entry), "-o", file, "-w", "json"); err != nil {
		return err
	}
	if !d.Whole || !d.Proven || d.Entry != entry {
		return fmt.Errorf("not whole and proven: %+v", d)
	}
	peer := "http://" + freeAddress()
	data := filepath.Join(r.work, "data")
	cluster := []string{"--name", "m", "--initial-cluster", "m=" + peer, "--initial-advertise-peer-urls", peer}
	if out, err := exec.Command(filepath.Join(r.tools, "etcdutl"), append([]string{"snapshot", "restore", file, "--data-dir", data}, cluster...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("etcdutl: %w\n%s", err, out)
	}
	if err := r.serve(data, peer, cluster, &d); err != nil {
		return err
	}
	return r.compare(filepath.Join(copies, member+".tar.zst"), &d)
}

// json runs the program and decodes what it prints. An exit status of 1 is no error.
func (r *rig) json(into any, args ...string) error {
	cmd := exec.Command(r.autopsy, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if len(out) == 0 {
		return fmt.Errorf("%w: %s", err, errs.String())
	}
	return json.Unmarshal(out, into)
}

// serve starts a server on a data directory, and compares what it answers.
func (r *rig) serve(data, peer string, cluster []string, d *document) (err error) {
	client := "http://" + freeAddress()
	args := append([]string{"--data-dir", data, "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer, "--log-level", "error"}, cluster...)
	cmd := exec.Command(filepath.Join(r.tools, "server"), args...)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, log.String())
		}
	}()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{client}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var as *clientv3.AuthStatusResponse
	for { // this, unlike the status, is answered to everybody, and by way of the log
		if as, err = c.AuthStatus(ctx); err == nil {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the server does not come up: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if as.Enabled != d.AuthEnabled || as.AuthRevision != d.AuthRevision && d.AuthRevision > 0 {
		return fmt.Errorf("auth is %v at revision %d, not %v, %d", as.Enabled, as.AuthRevision, d.AuthEnabled, d.AuthRevision)
	}
	if as.Enabled { // the rest is behind a password: etcd's own tool asks the server's db
		if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil && !strings.Contains(err.Error(), "interrupt") {
			return err
		}
		return r.offline(filepath.Join(data, "member", "snap", "db"), d)
	}
	h, err := c.HashKV(ctx, client, d.Revision)
	if err != nil {
		return err
	}
	if h.Hash != d.HashKV || h.CompactRevision != d.Compact && !(d.Compact == 0 && h.CompactRevision < 0) {
		return fmt.Errorf("the server's hash is %d, compacted at %d, not %d, %d", h.Hash, h.CompactRevision, d.HashKV, d.Compact)
	}
	all, err := c.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(d.Revision), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	ls, err := c.Leases(ctx)
	if err != nil {
		return err
	}
	if all.Count != d.Keys || len(ls.Leases) != d.Leases {
		return fmt.Errorf("%d keys, %d leases, not %d, %d", all.Count, len(ls.Leases), d.Keys, d.Leases)
	}
	return nil
}

// offline compares the hash that etcdutl computes of a db that a server has run on.
func (r *rig) offline(db string, d *document) error {
	out, err := exec.Command(filepath.Join(r.tools, "etcdutl"), "hashkv", db, "--rev", fmt.Sprint(d.Revision), "-w", "json").Output()
	if err != nil {
		return fmt.Errorf("etcdutl hashkv: %w", err)
	}
	var h struct {
		Hash uint32 `json:"hash"`
	}
	if err := json.Unmarshal(out, &h); err != nil {
		return err
	}
	if h.Hash != d.HashKV {
		return fmt.Errorf("etcdutl's hash of the server's db is %d, not %d", h.Hash, d.HashKV)
	}
	return nil
}

// compare compares the hash of a file with that of the copy, if this is compacted as far and was not damaged.
func (r *rig) compare(copied string, d *document) error {
	var h hashes
	if err := r.json(&h, "hash", copied, "--rev", fmt.Sprint(d.Revision), "-w", "json"); err != nil || len(h.Members) != 1 {
		return nil // what is damaged has no hash
	}
	if m := h.Members[0]; m.Error == "" && m.Compact == d.Compact && m.HashKV != d.HashKV && !strings.Contains(copied, "damaged") && !strings.Contains(copied, "truncated") {
		return fmt.Errorf("the copy's hash is %d at revision %d, not %d", m.HashKV, d.Revision, d.HashKV)
	}
	return nil
}

// freeAddress is one that nothing listens on.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:23790"
	}
	defer l.Close()
	return l.Addr().String()
}
