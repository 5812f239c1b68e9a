package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect/serverlog"
)

// serverLines is a server's log in which a word stands in every place of every message that is told, in both formats.
func serverLines(word string) string {
	var b strings.Builder
	second := 0
	zap := func(level, msg string, fields ...string) {
		second++
		line := map[string]any{"level": level, "ts": fmt.Sprintf("2026-11-21T08:%02d:%02d.000Z", 10+second/60, second%60), "msg": msg}
		for _, f := range fields {
			line[f] = word
		}
		if slices.Contains(fields, "local-member-id") {
			line["local-member-id"], line["commit-index"] = "8e9e05c52164694d", 5
		}
		text, err := json.Marshal(line)
		if err != nil {
			panic(err) // of strings
		}
		b.Write(append(text, '\n'))
	}
	flat := strings.NewReplacer("\n", " ", "\r", " ", "\u2028", " ").Replace(word)
	old := func(level, text string) {
		second++
		fmt.Fprintf(&b, "2026-11-21 08:%02d:%02d.000000 %s | etcdserver: %s\n", 10+second/60, second%60, level, strings.ReplaceAll(text, "WORD", flat))
	}
	zap("info", "starting an etcd server", "etcd-version", "name")
	zap("info", "restarting local member", "local-member-id")
	zap("info", "raft.node: 8e9e05c52164694d elected leader 91bc3c398fb3c146 at term 7")
	zap("info", "set initial cluster version", "cluster-version")
	zap("info", "updated cluster version", "from", "to")
	zap("info", "sent database snapshot", "snapshot-index", "remote-peer-id")
	zap("warn", "failed to send database snapshot", "snapshot-index", "remote-peer-id", "error")
	zap("info", "received and saved database snapshot", "incoming-snapshot-index", "remote-snapshot-sender-id", "path")
	zap("info", "finished scheduled compaction", "compact-revision")
	zap("warn", "failed to defragment", "error")
	zap("warn", "alarm raised", "alarm", "from")
	zap("info", "alarm disarmed", "alarm", "from")
	zap("warn", "found different hash values from remote peer", "local-member-id", "remote-peer-id", "remote-peer-endpoints")
	zap("warn", "failed to apply request", "request", "response", "error")
	zap("info", "enabled authentication")
	zap("warn", "invalid auth token", "token")
	zap("warn", "apply request took too long", "request", "prefix", "response")
	zap("warn", "slow fdatasync")
	zap("info", "compact tree index", "revision")
	zap("info", "invalid password", "user-name")
	zap("warn", "invalid authentication was requested", "user", "error")
	zap("info", "finished peer corruption check", "number-of-peers-checked")
	zap("warn", "prober found high clock drift", "remote-peer-id", "error")
	zap("warn", "request cluster ID mismatch", "remote-peer-cluster-id", "local-member-cluster-id")
	zap("warn", "peer became inactive (message send to peer failed)", "peer-id", "error")
	zap("warn", "snap file is corrupt", "path")
	zap("info", "received signal; shutting down", "signal")
	zap("info", "starting an etcd server", "etcd-version", "name")
	zap("panic", "failed to recover v3 backend from snapshot", "error")
	zap("info", "starting an etcd server", "etcd-version", "name")
	zap("fatal", word, "error")
	zap("info", "starting an etcd server", "etcd-version", "name")
	zap("info", "starting an etcd server", "etcd-version", "name")
	fmt.Fprintf(&b, "panic: open /x/%s: %s\n", flat, flat)
	old("I", "etcd Version: WORD")
	old("I", "name = WORD")
	old("I", "set the initial cluster version to WORD")
	old("N", "updated the cluster version from WORD to WORD")
	old("W", "alarm WORD raised by peer 91bc3c398fb3c146")
	old("E", "database snapshot [index: 9, to: 91bc3c398fb3c146] failed to be sent out (WORD)")
	old("W", `failed to apply request,took WORD,request key:"WORD",resp WORD,err is WORD`)
	old("W", `read-only range request "key:\"WORD\" " with result "WORD" took too long (WORD) to execute`)
	old("E", "corrupted snapshot file WORD: WORD")
	old("N", "authentication failed, invalid password for user WORD")
	old("W", "alarm raised alarm:WORD ")
	old("N", "received WORD signal, shutting down...")
	return b.String()
}

// scanned is what serverLines tell.
func scanned(t *testing.T, member, word string) story.Log {
	t.Helper()
	l, err := serverlog.Scan(t.Context(), serverlog.NewReader(strings.NewReader(serverLines(word))))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[serverlog.Kind]bool{}
	for _, e := range l.Events {
		kinds[e.Kind] = true
	}
	if len(kinds) < len(serverlog.Kinds()) {
		t.Errorf("of %v only %v are in it", serverlog.Kinds(), slices.Sorted(maps.Keys(kinds)))
	}
	return story.Log{Member: member, File: "server-" + word + ".log", Log: l}
}
