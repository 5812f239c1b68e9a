// Package evidence finds the files of etcd members in what an investigator was given: data directories, their parts,
// lone databases, and archives of any of these. It opens everything read-only and changes nothing: no lock is taken, no
// file is created beside the evidence.
//
// A data directory, and the names that files get here wherever they were found:
//
//	member/snap/db                                   the database                        Member.DB
//	member/snap/0000000000000002-00000000000003e8.snap     a raft snapshot               Member.Snap
//	member/snap/00000000000003e8.snap.db             a database received from a leader   Member.SnapDB
//	member/wal/0000000000000000-0000000000000000.wal       a segment of the log          Member.WAL
//	member/wal/0.tmp, member/snap/*.broken, ...      anything else                       Member.Other
//
// # Faults
//
// File contents are memory-mapped where the system can. If someone truncates such a file while it is read, the kernel
// answers the read with SIGBUS, which ends a Go process unless the reading goroutine has asked for a panic instead. So
// run every decoder in Guard, or under debug.SetPanicOnFault, in the same goroutine that reads. Files out of archives
// are private copies and cannot shrink.
package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"etcd-autopsy/inspect/finding"
)

// File is one file of the evidence.
type File struct {
	// Name is the slash path inside the data directory, in etcd's layout whatever part of it was given: "member/snap/db".
	// A lone database or snapshot file has its base name.
	Name string
	// Origin is where the file lies, for a person: a path, or "archive.tar.gz!node1/member/snap/db".
	Origin string
	// Size is in bytes. Of a file that was cut with its archive, it is what is there; of one that is nearly all hole, what is
	// read of it: see Whole.
	Size int64
	// Archive is the file on the disk that it was unpacked from, "" if it lies there itself.
	Archive string

	data   []byte
	mapped bool
	sparse *sparse
}

// Whole is false if only the first Size bytes of a file are read, because a hole follows that is much larger than all data.
func (f *File) Whole() bool { return f.sparse == nil }

// Bytes returns the whole contents, nil for an empty file. They must not be modified, are valid until Set.Close, and may
// be read by several goroutines.
func (f *File) Bytes() []byte { return f.data }

// Advise tells the system whether the contents are about to be read in order or here and there. It is only a hint.
func (f *File) Advise(sequential bool) {
	if f.mapped {
		advise(f.data, sequential)
	}
}

// forgetTogether is how many bytes one call forgets.
const forgetTogether = 256 << 20

// SHA256 returns the hash of the contents in hex.
func (f *File) SHA256() (string, error) {
	h := sha256.New()
	f.Advise(true)
	err := Guard(f.Origin, func() error {
		_, err := h.Write(f.data)
		return err
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Member is what was found of one member.
type Member struct {
	// Label tells the member from the others of its Set.
	Label string
	// Arg is the argument it came from, as given.
	Arg string
	// Origin is the member's data directory, the part of one that was given, or its lone file.
	Origin string
	// Bare tells that a lone database or snapshot file was given: there is no log that could be missing by accident.
	Bare bool

	DB     *File   // nil if there is none
	WAL    []*File // *.wal, by name
	Snap   []*File // *.snap, by name
	SnapDB []*File // *.snap.db, by name
	Other  []*File // all the rest, by name

	// Findings say what could not be reached: parts cut off with the archive, links that lead nowhere.
	Findings []finding.Finding

	elems []string // of the path, for the label
	apart bool     // a log that was not found in a data directory
	loose bool     // in a folder that is not called like one of etcd's
}

// Set is the evidence of several members.
type Set struct {
	// Members are in the order of the arguments; those of one argument by path.
	Members []*Member
	// Notes say what was found and not read: hidden data directories, files of other programs.
	Notes []string

	files []*File
	spool spool
}

// Options say where logs are, and limit what archives may unpack to. Zero values stand for the defaults.
type Options struct {
	// WALDirs are the folders of logs that lie apart from their data directories, one for each argument; or none.
	WALDirs []string
	// TempDir is where archives are unpacked to: "" for the system's folder for temporary files.
	TempDir string
	// Say is told, if not nil, what a person should know before much temporary space is used.
	Say func(string)
	// MaxBytes is for all archives of a Set together, as declared and as unpacked: 64 GiB.
	MaxBytes int64
	// MaxEntries is how many files and folders one archive may hold, with all archives in it, and how many are looked through to find the members
	// below a folder: 100,000.
	MaxEntries int
	// A file is refused once it filled MaxStored bytes of disk (1 GiB), with all files in it, and MaxRatio times (250) its own size. Runs of
	// zeros take no space and do not count: a log segment is mostly zeros and packs better than that.
	MaxStored, MaxRatio int64
}

func (o Options) withDefaults() Options {
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 30
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = 100_000
	}
	if o.MaxStored == 0 {
		o.MaxStored = 1 << 30
	}
	if o.MaxRatio == 0 {
		o.MaxRatio = 250
	}
	return o
}

// opener is the state of one call of Open.
type opener struct {
	ctx  context.Context
	opts Options
	set  *Set

	seen     int                 // files and folders looked at outside archives
	unpacked int64               // bytes out of archives, holes included
	left     map[string][]string // why it was left out to what
	whys     []string
	said     []string // other notes
}

// HintedError is an error about which the user can do something.
type HintedError struct {
	error
	hint string
}

func (h *HintedError) Unwrap() error { return h.error }

// Hint tells what the user can do, or is empty.
func (h *HintedError) Hint() string { return h.hint }

// logMark is what stands between a data directory and the folder of its log.
const logMark = ",wal="

var labelled = regexp.MustCompile(`^([A-Za-z0-9._-]+)=(.*)$`)

// Open finds the members that args name and opens their files. An argument is PATH, or label=PATH, or one of these with
// ",wal=DIR" behind it for a log that lies elsewhere. PATH is a data directory, its member folder, a database or snapshot file,
// a segment or .snap file, an archive or compressed file of these (see sniff), or a folder or archive that holds several
// members. What a file is, its first bytes tell, not its name. Errors begin with the path; of what kind they are, errors.Is
// and errors.As tell: fs.ErrNotExist, ErrNoMember, *ForeignError, ErrShrank, and that of ctx.
//
// An archive that was cut is opened as far as it goes, and each of its members has a finding "archive-truncated".
func Open(ctx context.Context, args []string, opts Options) (_ *Set, err error) {
	o := &opener{ctx: ctx, opts: opts.withDefaults(), set: &Set{spool: spool{parent: opts.TempDir}}, left: map[string][]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.set.Close())
		}
	}()
	if len(args) == 0 {
		return nil, errors.New("no member named")
	}
	if n := len(opts.WALDirs); n > 0 && n != len(args) {
		return nil, &HintedError{fmt.Errorf("%d folders of logs are named for %d members", n, len(args)), "give --wal-dir once for each member, in their order, or name them as NAME=DATA,wal=DIR"}
	}
	explicit := map[string]string{} // label to argument
	for i, arg := range args {
		label, path, wal := splitArg(arg)
		if len(opts.WALDirs) > 0 {
			if wal != "" {
				return nil, fmt.Errorf("%s: its log is named twice", path)
			}
			wal = opts.WALDirs[i]
		}
		if path == "-" {
			return nil, errors.New("-: standard input cannot be a member: name a file or a folder")
		}
		members, err := o.open(path)
		if err == nil && wal != "" {
			err = o.withLog(members, path, wal)
		}
		if err != nil {
			return nil, err
		}
		if label != "" {
			if len(members) == 1 {
				members[0].Label = label
			} else {
				labelMembers(members)
				for _, m := range members {
					m.Label = label + "/" + m.Label
				}
			}
			for _, m := range members {
				if before, ok := explicit[m.Label]; ok {
					return nil, fmt.Errorf("%s: label %s is taken by %s", path, m.Label, before)
				}
				explicit[m.Label] = arg
			}
		}
		for _, m := range members {
			m.Arg = arg
		}
		o.set.Members = append(o.set.Members, members...)
	}
	labelMembers(o.set.Members)
	o.set.Notes = o.notes()
	return o.set, nil
}

// splitArg takes a label and the folder of a log off an argument, unless the whole of it is a path that exists.
func splitArg(arg string) (label, path, wal string) {
	exists := func(p string) bool {
		_, err := os.Lstat(p)
		return err == nil
	}
	if exists(arg) {
		return "", arg, ""
	}
	m := labelled.FindStringSubmatch(arg)
	if m != nil && exists(m[2]) {
		return m[1], m[2], ""
	}
	path = arg
	if i := strings.LastIndex(arg, logMark); i >= 0 {
		path, wal = arg[:i], arg[i+len(logMark):]
	}
	if m = labelled.FindStringSubmatch(path); m != nil && !exists(path) {
		label, path = m[1], m[2]
	}
	return label, path, wal
}

// Close releases all files. Their bytes must not be used any more.
func (s *Set) Close() error {
	var wg sync.WaitGroup // to give a file of a GiB back takes as long as to read a tenth of it
	for _, f := range s.files {
		if !f.mapped {
			continue
		}
		for part := range slices.Chunk(f.data, forgetTogether) {
			wg.Go(func() { forget(part) })
		}
	}
	wg.Wait()
	var errs []error
	for _, f := range s.files {
		if f.mapped {
			errs = append(errs, unmap(f.data))
		}
		f.data, f.mapped = nil, false
	}
	s.files = nil
	return errors.Join(append(errs, s.spool.close())...)
}

// open finds the members at a path.
func (o *opener) open(path string) ([]*Member, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, pathError(path, err)
	}
	switch {
	case fi.IsDir():
		return o.folder(path)
	case fi.Mode().IsRegular():
		return o.file(path)
	default:
		return nil, fmt.Errorf("%s: neither a file nor a folder", path)
	}
}

// mapDisk opens a file of the evidence where it lies.
func (o *opener) mapDisk(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, pathError(path, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	fi, err := f.Stat()
	if err != nil {
		return nil, pathError(path, err)
	}
	return o.mapFile(f, path, 0, fi.Size())
}

// mapFile takes size bytes of f at offset at, a multiple of the page size, into the Set.
func (o *opener) mapFile(f *os.File, origin string, at, size int64) (*File, error) {
	file := &File{Origin: origin}
	if size, file.sparse = readable(f, at, size); size > 0 {
		if int64(int(size)) != size {
			return nil, fmt.Errorf("%s: %d bytes are too many for the address space of this machine", origin, size)
		}
		var err error
		if file.data, err = mapRange(f, at, int(size)); err == nil {
			file.mapped = true
		} else if file.data, err = readRange(f, at, int(size)); err != nil { // some network and shared file systems cannot map
			return nil, pathError(origin, err)
		}
	}
	file.Size = int64(len(file.data))
	o.set.files = append(o.set.files, file)
	return file, nil
}

func readRange(f *os.File, at int64, size int) ([]byte, error) {
	data := make([]byte, size)
	n, err := f.ReadAt(data, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data[:n], nil
}

// pathError puts path first and drops the operation, which tells the user nothing: "PATH: no such file or directory".
func pathError(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// pathElems splits an absolute form of path, so that "." too has a name to be labelled by.
func pathElems(path string) []string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return splitElems(filepath.ToSlash(path[len(filepath.VolumeName(path)):]))
}
