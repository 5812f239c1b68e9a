package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// gardenerChain fills a folder as etcd-backup-restore does: a full snapshot of revision 1200 and two deltas of ten revisions each.
func gardenerChain(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, errs, status := autopsy(t, "recover", filepath.Join(scenarios, "healthy-3.6", "s1.tar.zst"), "--at-revision", "1200", "-o", filepath.Join(dir, "Full-00000000-00001200-1700000000")); status != exitOK {
		t.Fatal(errs)
	}
	for first := int64(1201); first < 1220; first += 10 {
		var events []string
		for rev := first; rev < first+10; rev++ {
			key := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "k%d", rev))
			events = append(events, fmt.Sprintf(`{"etcdEvent":{"kv":{"key":%q,"create_revision":%d,"mod_revision":%d,"version":1,"value":"dg=="}},"time":"2026-11-21T08:00:00Z"}`, key, rev, rev))
		}
		b := []byte("[" + strings.Join(events, ",") + "]")
		sum := sha256.Sum256(b)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("Incr-%08d-%08d-%d", first, first+9, 1_700_000_000+first)), append(b, sum[:]...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestVerifyChain verifies a folder of etcd-backup-restore, whole and with a file missing.
func TestVerifyChain(t *testing.T) {
	t.Parallel()
	dir := gardenerChain(t)
	out, errs, status := autopsy(t, "verify", dir)
	if status != exitOK || errs != "" || !strings.Contains(out, "(chain)") || !strings.Contains(out, "a restore of the full snapshot and 2 deltas comes to revision 1220") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	if err := os.Remove(filepath.Join(dir, "Incr-00001201-00001210-1700001201")); err != nil {
		t.Fatal(err)
	}
	out, _, status = autopsy(t, "verify", dir, "-w", "json")
	var doc struct {
		Backups []struct{ Kind, State, Reason string }
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Backups) != 3 || status != exitDiverged {
		t.Fatalf("status %d, %d lines: %v", status, len(doc.Backups), err)
	}
	for i, want := range []string{"full restorable", "chain not_restorable", "delta restorable"} {
		if b := doc.Backups[i]; b.Kind+" "+b.State != want {
			t.Errorf("%+v, want %s", b, want)
		}
	}
	if why := doc.Backups[1].Reason; !strings.HasPrefix(why, "a gap: the full snapshot ends with revision 1200, and Incr-00001211-00001220-") {
		t.Error(why)
	}
}
