package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// program copies the test binary to dir, which is the program when it is called so: see TestMain.
func program(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "etcd-autopsy")
	if err := os.WriteFile(file, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

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
	program, scratch := program(t, dir), filepath.Join(dir, "tmp")
	err = errors.Join(os.Mkdir(scratch, 0o755), os.Chown(scratch, 65534, 65534))
	for _, p := range []string{dir, node, node + "/member", node + "/member/snap", node + "/member/wal"} {
		err = errors.Join(err, os.Chmod(p, 0o555))
	}
	err = errors.Join(err, os.Chmod(node+"/member/snap/db", 0o444))
	if err != nil {
		t.Fatal(err)
	}
	var before, after strings.Builder
	if err := list(&before, node); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "diff", "inspect"} {
		var errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), program, command, node)
		cmd.Dir, cmd.Stderr = dir, &errs
		cmd.Env = []string{"TMPDIR=" + scratch, "PATH=" + os.Getenv("PATH")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v: %s", command, err, errs.String())
		}
	}
	if err := list(&after, node); err != nil {
		t.Fatal(err)
	}
	if before.String() != after.String() {
		t.Errorf("the evidence changed:\n%s\nwas:\n%s", after.String(), before.String())
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}

// changing are system calls that change a file by its name or by a descriptor, or lock it.
var changing = regexp.MustCompile(`^(creat|rename\w*|unlink\w*|rmdir|link\w*|symlink\w*|mknod\w*|mkdir\w*|f?truncate\d*|fallocate|f?chmod\w*|[fl]?chown\w*|` +
	`utime\w*|futimesat|[fl]?setxattr\w*|[fl]?removexattr\w*|flock|p?write\w*|copy_file_range|sendfile\w*|msync|ioctl)\(`)

// forWriting are flags and commands that open, map or lock a file for more than reading.
var forWriting = regexp.MustCompile(`^(open|fcntl|mmap|lease).*(O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|F_SETLK|F_SETLKW|F_OFD_SETLK|F_SETLEASE|PROT_WRITE[^)]*MAP_SHARED)`)

// TestStrace has the kernel's own word that no input is opened for writing, locked, renamed, truncated or removed.
func TestStrace(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), strace, "-f", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	dir := t.TempDir()
	bin, scratch, evidence := program(t, dir), filepath.Join(dir, "tmp"), filepath.Join(dir, "evidence")
	node, archives := filepath.Join(evidence, "node"), filepath.Join(evidence, "archives")
	if err := errors.Join(os.Mkdir(scratch, 0o755), unpack(filepath.Join(scenarios, "healthy-3.7", "z1.tar.zst"), node), os.Mkdir(archives, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"damaged-page/a", "wal-torn/c", "snap-corrupt/b"} { // etcd would repair or rename these
		file := filepath.Join(archives, filepath.Dir(name)+".tar.zst")
		b, err := os.ReadFile(filepath.Join(scenarios, filepath.FromSlash(name)+".tar.zst"))
		if err := errors.Join(err, os.WriteFile(file, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unpack(filepath.Join(archives, "snap-corrupt.tar.zst"), filepath.Join(evidence, "torn")); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"inspect", "check", "diff"} {
		for _, args := range [][]string{{node}, {filepath.Join(evidence, "torn"), filepath.Join(archives, "damaged-page.tar.zst"), filepath.Join(archives, "wal-torn.tar.zst")}} {
			trace := filepath.Join(dir, "trace")
			cmd := exec.CommandContext(t.Context(), strace, append([]string{"-f", "-y", "-qq", "-e", "trace=%file,%desc", "-s", "256", "-o", trace, bin, command}, args...)...)
			cmd.Env = []string{"TMPDIR=" + scratch, "PATH=" + os.Getenv("PATH")}
			if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() == exitFailed {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
			b, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			opened := 0
			for l := range strings.Lines(string(b)) {
				_, call, _ := strings.Cut(strings.TrimSpace(l), " ") // behind the process id
				if call = strings.TrimSpace(call); !strings.Contains(call, evidence) {
					continue
				}
				if strings.HasPrefix(call, "open") {
					opened++
				}
				if changing.MatchString(call) || forWriting.MatchString(call) {
					t.Errorf("%s: %s", command, l)
				}
			}
			if opened == 0 {
				t.Errorf("%s: strace saw no input opened", command)
			}
		}
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}

// TestStraceRules asserts that TestStrace would see what it looks for.
func TestStraceRules(t *testing.T) {
	t.Parallel()
	for _, l := range []string{
		`openat(AT_FDCWD, "/e/db", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 3</e/db>`, `openat(AT_FDCWD</w>, "/e/db", O_RDONLY|O_TRUNC) = 3`,
		`flock(3</e/db>, LOCK_SH) = 0`, `fcntl(3</e/db>, F_SETLK, {l_type=F_WRLCK}) = 0`, `rename("/e/a", "/e/a.broken") = 0`, `renameat2(AT_FDCWD, "/e/a"`,
		`ftruncate(3</e/x>, 10) = 0`, `unlinkat(AT_FDCWD, "/e/x", 0) = 0`, `pwrite64(3</e/db>, "", 1, 0) = 1`, `mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3</e/db>, 0)`,
		`fchmod(3</e/x>, 0600) = 0`, `mkdirat(AT_FDCWD, "/e/x", 0700) = 0`,
	} {
		if !changing.MatchString(l) && !forWriting.MatchString(l) {
			t.Errorf("not seen: %s", l)
		}
	}
	for _, l := range []string{
		`openat(AT_FDCWD, "/e/db", O_RDONLY|O_CLOEXEC) = 3</e/db>`, `mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3</e/db>, 0)`, `fcntl(3</e/db>, F_GETFL) = 0`,
		`newfstatat(AT_FDCWD, "/e/db", {}, 0) = 0`, `getdents64(3</e>, 0x1, 8192) = 48`, `read(3</e/x>, "", 10) = 10`, `epoll_ctl(4, EPOLL_CTL_ADD, 3</e/x>, {}) = -1 EPERM`,
	} {
		if changing.MatchString(l) || forWriting.MatchString(l) {
			t.Errorf("taken for a change: %s", l)
		}
	}
}

// TestInterruptedLeavesNothing interrupts the program while it unpacks a big archive.
func TestInterruptedLeavesNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("writes some hundred megabytes")
	}
	dir := t.TempDir()
	bin, scratch := program(t, dir), filepath.Join(dir, "tmp")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		archive := filepath.Join(dir, "big.tar.zst")
		if err := bigArchive(archive, 900<<20); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), bin, "diff", archive)
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Env = []string{"TMPDIR=" + scratch, "PATH=" + os.Getenv("PATH")}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		unpacking := false
		for range 2000 {
			if unpacking = spooled(cmd.Process.Pid, scratch) > 1<<20; unpacking {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if !unpacking {
			t.Error("nothing is unpacked to TMPDIR")
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // the exit status is what counts
		if got := cmd.ProcessState.ExitCode(); got != exitStopped || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%v: exit status %d, want %d; output %q, errors %q", sig, got, exitStopped, out.String(), errs.String())
		}
		if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
			t.Errorf("%v: left in the temporary directory: %v, %v", sig, left, err)
		}
	}
}

// TestInterruptedReplayLeavesNothing stops the program while etcd's code runs on a private copy.
func TestInterruptedReplayLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin, scratch := program(t, dir), filepath.Join(dir, "tmp")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bin, "diff", "--replay", "--no-server-logs", filepath.Join(scenarios, "lease-revoke-auth"))
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = []string{"TMPDIR=" + scratch, "PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	copied := false
	for range 20000 {
		left, err := filepath.Glob(filepath.Join(scratch, "etcd-autopsy-replay-*", "db"))
		if copied = err == nil && len(left) > 0; copied {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // the exit status is what counts
	if got := cmd.ProcessState.ExitCode(); !copied || got != exitStopped || out.Len() > 0 || errs.String() != "Error: interrupted\n" {
		t.Errorf("copied %v, exit status %d, output %q, errors %q", copied, got, out.String(), errs.String())
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}

// spooled is how much a process has written to files in dir, which have no name any more.
func spooled(pid int, dir string) int64 {
	var n int64
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // none if the process has ended
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || !strings.HasPrefix(to, dir) {
			continue
		}
		if fi, err := os.Stat(fd); err == nil {
			n += fi.Size()
		}
	}
	return n
}

// bigArchive writes an archive of a data directory whose db has that size and is no db.
func bigArchive(file string, size int64) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	err = w.WriteHeader(&tar.Header{Name: "member/snap/db", Typeflag: tar.TypeReg, Mode: 0o600, Size: size})
	block := bytes.Repeat([]byte("not zero"), 1<<17)
	for n := int64(0); n < size && err == nil; n += int64(len(block)) {
		_, err = w.Write(block[:min(int64(len(block)), size-n)])
	}
	return errors.Join(err, w.Close(), z.Close(), f.Close())
}
