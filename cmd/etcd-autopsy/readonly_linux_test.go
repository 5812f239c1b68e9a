package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadOnlyForAnotherUser runs the program as a user who may read the evidence and write nowhere near it.
func TestReadOnlyForAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("/tmp", "etcd-autopsy-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	node := filepath.Join(dir, "node")
	if err := unpack(filepath.Join(scenarios, "healthy-3.7", "z1.tar.zst"), node); err != nil {
		t.Fatal(err)
	}
	// The test binary is the program when it is called so: see TestMain.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program, scratch := filepath.Join(dir, "etcd-autopsy"), filepath.Join(dir, "tmp")
	err = errors.Join(os.WriteFile(program, self, 0o755), os.Mkdir(scratch, 0o755), os.Chown(scratch, 65534, 65534))
	for _, p := range []string{dir, node, node + "/member", node + "/member/snap", node + "/member/wal"} {
		err = errors.Join(err, os.Chmod(p, 0o555))
	}
	err = errors.Join(err, os.Chmod(node+"/member/snap/db", 0o444))
	if err != nil {
		t.Fatal(err)
	}
	var before, after strings.Builder
	if err := list(&before, dir); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"diff", "inspect"} {
		var errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), program, command, node)
		cmd.Dir, cmd.Stderr = dir, &errs
		cmd.Env = []string{"TMPDIR=" + scratch, "PATH=" + os.Getenv("PATH")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v: %s", command, err, errs.String())
		}
	}
	if err := list(&after, dir); err != nil {
		t.Fatal(err)
	}
	if before.String() != after.String() {
		t.Errorf("the evidence changed:\n%s\nwas:\n%s", after.String(), before.String())
	}
}
