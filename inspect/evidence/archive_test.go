package evidence

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// tarOf packs files in the order of their names.
func tarOf(files map[string]string) string {
	var headers []tar.Header
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(files[name]))}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		headers = append(headers, h)
	}
	return tarHeaders(files, headers...)
}

func tarHeaders(files map[string]string, headers ...tar.Header) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(files[h.Name])); err != nil {
				panic(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

// headerOnly is an archive that ends where the contents of its only entry should begin.
func headerOnly(h tar.Header) string {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		panic(err)
	}
	return b.String()
}

func TestRefusedArchives(t *testing.T) {
	noTemp(t)
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	entry := func(h tar.Header) string {
		return tarHeaders(nil, tar.Header{Name: "member/", Typeflag: tar.TypeDir}, h)
	}
	good := gz(tarOf(dataDir()))
	long := strings.Repeat("d/", maxNameLen/2) + "db"
	tests := []struct {
		name, file, data string
		opts             Options
		want             string
	}{
		{"absolute", "a.tar", entry(reg("/etc/passwd")), Options{}, `entry "/etc/passwd": absolute paths are refused`},
		{"parent", "a.tar", entry(reg("member/../../x")), Options{}, `entry "member/../../x": the path leads out of the archive`},
		{"parent that stays inside", "a.tar", entry(reg("member/../x")), Options{}, "the path leads out of the archive"},
		{"parent folder", "a.tar", entry(tar.Header{Name: "../", Typeflag: tar.TypeDir}), Options{}, "the path leads out of the archive"},
		{"same name", "a.tar", tarHeaders(nil, reg("member/snap/db"), reg("./member//snap/db")), Options{}, "the name is given to two entries"},
		{"file and folder", "a.tar", tarHeaders(nil, reg("member"), reg("member/db")), Options{}, "the name is given to two entries"},
		{"folder and file", "a.tar", entry(reg("member")), Options{}, "the name is given to two entries"},
		{"no name", "a.tar", entry(reg(".")), Options{}, "a file without a name"},
		{"long name", "a.tar", entry(reg(long)), Options{}, "the name has more than 4096 bytes"},
		{"many entries", "a.tar", tarOf(dataDir()), Options{MaxEntries: 3}, "more than 3 entries"},
		{"many implied folders", "a.tar", tarOf(map[string]string{"a/b/c/d/e/f/g/h": ""}), Options{MaxEntries: 3}, "more than 6 entries and folders"},
		{"declared size", "a.tar", headerOnly(tar.Header{Name: "member/snap/db", Size: 1 << 40}), Options{}, "unpacks to more than 68719476736 bytes"},
		{"too large", "a.tar", tarOf(map[string]string{"member/snap/db": strings.Repeat("x", 101)}), Options{MaxBytes: 100}, `entry "member/snap/db": unpacks to more than 100 bytes`},
		{"too large together", "a.tar", tarOf(map[string]string{"wal/1.wal": strings.Repeat("x", 60), "wal/2.wal": strings.Repeat("x", 60)}), Options{MaxBytes: 100}, `entry "wal/2.wal": unpacks to more than 100 bytes`},
		{"too large after the end", "a.tar.gz", gz(tarOf(dataDir()) + strings.Repeat("\x00", 1<<20)), Options{MaxBytes: 1 << 19}, "unpacks to more than 524288 bytes"},
		{"large db", "a.db.gz", gz(strings.Repeat("\x00", 1<<20)), Options{MaxBytes: 1 << 19}, "unpacks to more than 524288 bytes"},
		{"bomb", "a.tar.gz", gz(tarOf(map[string]string{"member/snap/db": strings.Repeat("x", 4<<20)})), Options{MaxStored: 1 << 20}, "unpacks to more than 250 times its size"},
		{"wrong checksum", "a.tar.gz", flip(good, len(good)-8), Options{}, "gzip: invalid checksum"},
		{"damaged stream", "a.tar.gz", good[:100] + strings.Repeat("\xff", 50) + good[150:], Options{}, "offset "},
		{"damaged zstd stream", "a.tar.zst", flip(zst(tarOf(dataDir())), 200), Options{}, "offset "},
		{"cut before anything", "a.tar.gz", good[:20], Options{}, "no etcd member here (looked for member/snap/db, snap/db, wal/)"},
		{"cut db", "a.db.gz", gz(dbContent)[:11], Options{}, "offset 11: unexpected EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), tt.file)
			check(t, os.WriteFile(path, []byte(tt.data), 0o600))
			s, err := Open(t.Context(), []string{path}, tt.opts)
			if err == nil {
				t.Fatalf("opened: %s", describe(s))
			}
			if !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want %s", err, tt.want)
			}
		})
	}
}

func TestZerosAreNoBomb(t *testing.T) {
	noTemp(t)
	path := filepath.Join(t.TempDir(), "a.tar.gz")
	check(t, os.WriteFile(path, []byte(gz(tarOf(map[string]string{"wal/1.wal": "x" + strings.Repeat("\x00", 8<<20)}))), 0o600))
	s, err := Open(t.Context(), []string{path}, Options{MaxStored: 1 << 16})
	check(t, err)
	defer s.Close()
	if n := s.Members[0].WAL[0].Size; n != 8<<20+1 {
		t.Errorf("size is %d", n)
	}
}

func flip(data string, at int) string {
	b := []byte(data)
	b[at] ^= 0xff
	return string(b)
}

// random bytes do not compress: every cut falls into some entry.
func random(n int) string {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

func TestCutArchive(t *testing.T) {
	noTemp(t)
	files := map[string]string{"n1/member/snap/db": random(300), "n2/member/wal/" + wal0: random(100) + strings.Repeat("\x00", 600)}
	plain := tarOf(files)
	lone := random(300)
	for name, data := range map[string]string{
		"a.tar.gz": gz(plain), "a.tar.zst": zst(plain), "a.tar": strings.TrimRight(plain, "\x00") + strings.Repeat("\x00", 513),
		"a.db.gz": gz(lone), "a.db.zst": zst(lone),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			opened := 0
			step := max(1, len(data)/300) // every byte of the small ones
			for n := 0; n < len(data); n += step {
				check(t, os.WriteFile(path, []byte(data[:n]), 0o600))
				s, err := Open(t.Context(), []string{path}, Options{})
				if err != nil {
					if !strings.HasPrefix(err.Error(), path+": ") {
						t.Fatalf("cut at %d: %v", n, err)
					}
					continue
				}
				if !packedHead(data[:n]) && !isTarName(name) || n == 0 {
					check(t, s.Close()) // too short to be seen as compressed: garbage
					continue
				}
				opened++
				for _, m := range s.Members {
					if name == "a.tar" && n > len(data)-512 && len(m.Findings) == 0 {
						continue // the end mark is there, but for its second half
					}
					if len(m.Findings) != 1 {
						t.Fatalf("cut at %d: no finding: %s", n, describe(s))
					}
					f := m.Findings[0]
					if f.Code != "archive-truncated" || !f.Unreadable || f.File != name || f.Offset != int64(n) {
						t.Fatalf("cut at %d: finding %+v", n, f)
					}
					want := files["n1/member/snap/db"]
					if m.Bare {
						want = lone
					}
					if m.DB != nil && !strings.HasPrefix(want, string(m.DB.Bytes())) {
						t.Fatalf("cut at %d: wrong content", n)
					}
				}
				check(t, s.Close())
			}
			if opened == 0 {
				t.Error("no part of it could be opened")
			}
		})
	}
}

func packedHead(data string) bool {
	return strings.HasPrefix(data, gzipMagic) || strings.HasPrefix(data, zstdMagic)
}

func TestCutDetail(t *testing.T) {
	noTemp(t)
	files := map[string]string{"n1/member/snap/db": strings.Repeat("d", 512), "n2/member/wal/" + wal0: strings.Repeat("w", 1024)}
	plain := tarOf(files)
	tests := []struct {
		name, data, want string
	}{
		{"in an entry", plain[:4*512+100], "the archive is cut in n2/member/wal/" + wal0 + ": 612 of 1024 bytes are there"},
		{"in a header", plain[:2*512+100], "the archive is cut after n1/member/snap/db"},
		{"between entries", plain[:2*512], "the archive is cut after n1/member/snap/db"},
		{"before the end mark", plain[:5*512], "the archive is cut after n2/member/wal/" + wal0},
		{"packed whole", gz(plain[:3*512]), "the archive is cut in n2/member/wal/" + wal0 + ": 0 of 1024 bytes are there"},
		{"in the checksum", gz(plain)[:len(gz(plain))-3], "the archive is cut after n2/member/wal/" + wal0 + ", in its checksum"},
		{"two archives", plain + plain, "more data follows the end mark of the archive: it was not read"},
		{"trailing garbage", gz(plain) + "other data", "more data follows the end mark of the archive: it was not read"},
		{"padded", gz(plain + strings.Repeat("\x00", 1<<16)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.tar")
			check(t, os.WriteFile(path, []byte(tt.data), 0o600))
			s, err := Open(t.Context(), []string{path}, Options{})
			check(t, err)
			defer s.Close()
			for _, m := range s.Members {
				got := ""
				for _, f := range m.Findings {
					got += f.Detail
				}
				if got != tt.want {
					t.Errorf("finding %q, want %q", got, tt.want)
				}
			}
		})
	}
}

func TestWriteHoles(t *testing.T) {
	noTemp(t)
	var s spool
	check(t, s.open())
	page := strings.Repeat("x", holeSize)
	hole := strings.Repeat("\x00", holeSize)
	data := page + hole + hole + page + page + hole + "tail"
	stored, err := s.write([]byte(data), 0)
	check(t, err)
	if want := int64(3*holeSize + 4); stored != want {
		t.Errorf("stored %d bytes, want %d", stored, want)
	}
	got, err := readRange(s.file, 0, len(data))
	if err != nil || string(got) != data {
		t.Errorf("read back %d bytes that differ: %v", len(got), err)
	}
	check(t, s.close())
}

func TestNoTempWhileOpen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files cannot be removed")
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	path := filepath.Join(t.TempDir(), "a.tar.gz")
	check(t, os.WriteFile(path, []byte(gz(tarOf(dataDir()))), 0o600))
	s, err := Open(t.Context(), []string{path}, Options{})
	check(t, err)
	defer s.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("a killed process would leave %v %v", left, err)
	}
}

// TestCancelWhileUnpacking cancels in the middle of an archive that would take minutes.
func TestCancelWhileUnpacking(t *testing.T) {
	noTemp(t)
	// A sparse entry of 60 GiB in the old GNU format: a header, and no data at all.
	h := []byte(headerOnly(tar.Header{Name: "member/snap/db", Format: tar.FormatGNU}))
	h[156] = tar.TypeGNUSparse
	copy(h[386:], "740000000000") // offset of the only piece, which is empty
	copy(h[398:], "000000000000")
	copy(h[483:], "740000000000") // the size with all holes
	copy(h[tarChecksumAt:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[tarChecksumAt:], fmt.Sprintf("%06o\x00 ", sum))
	path := filepath.Join(t.TempDir(), "a.tar")
	check(t, os.WriteFile(path, append(h, make([]byte, 1024)...), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := Open(ctx, []string{path}, Options{})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func FuzzArchive(f *testing.F) {
	small := map[string]string{"member/snap/db": dbContent[:100], "member/wal/" + wal0: "w", "member/wal/0.tmp": ""}
	plain := tarOf(small)
	for i, seed := range []string{plain, gz(plain), zst(plain), gz(plain)[:90], gz("db"), tarOf(map[string]string{"../x": ""}), plain[:700], dbContent, ""} {
		f.Add([]byte(seed), uint8(i))
	}
	names := []string{"a.tar", "a.tar.gz", "a.tar.zst", "a.db.gz", "a.db"}
	dir, temp := f.TempDir(), f.TempDir()
	f.Setenv("TMPDIR", temp)
	f.Fuzz(func(t *testing.T, data []byte, kind uint8) {
		path := filepath.Join(dir, names[int(kind)%len(names)])
		check(t, os.WriteFile(path, data, 0o600))
		s, err := Open(t.Context(), []string{path}, Options{MaxBytes: 1 << 20, MaxEntries: 100})
		if err != nil {
			if !strings.HasPrefix(err.Error(), path+": ") || s != nil {
				t.Errorf("error is %v", err)
			}
		} else {
			for _, m := range s.Members {
				if m.Label == "" || strings.ContainsFunc(m.Label, func(r rune) bool { return r < ' ' }) {
					t.Errorf("label %q", m.Label)
				}
				for _, file := range append(slices.Concat(m.WAL, m.Snap, m.SnapDB, m.Other), m.DB) {
					if file != nil && file.Size != int64(len(file.Bytes())) {
						t.Errorf("%s: size %d, %d bytes", file.Origin, file.Size, len(file.Bytes()))
					}
				}
			}
			check(t, s.Close())
		}
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}
