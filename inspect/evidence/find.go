package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"etcd-autopsy/inspect/finding"
)

// ErrNoMember is the cause of errors about a place that exists and holds no member.
var ErrNoMember = errors.New("no etcd member here (looked for member/snap/db, snap/db, wal/)")

// How many folders below a folder are searched.
const (
	maxDepth = 12 // on the disk
	noLimit  = 1 << 30
)

// node is a file or folder of the evidence, on disk or in an archive.
type node struct {
	name, origin string
	list         func() ([]*node, error)         // of a folder, by name
	load         func() (*File, error)           // of a file
	open         func() (*source, func(), error) // of a file, and what to call in the end
	bad          string                          // why it is neither: a link to nowhere, a socket
}

// sniff tells what a file is.
func (n *node) sniff() (kind, *stranger, error) {
	src, done, err := n.open()
	if err != nil {
		return unknown, nil, err
	}
	defer done()
	head, err := src.head()
	if err != nil {
		return unknown, nil, err
	}
	k, x := sniff(head, n.name)
	return k, x, nil
}

// folderNamed returns the folder of that name, or nil.
func folderNamed(kids []*node, name string) *node {
	for _, k := range kids {
		if k.name == name && k.list != nil {
			return k
		}
	}
	return nil
}

// hasFile tells whether a file, or a broken link, is in a folder whose slash and name end like one of these.
func hasFile(kids []*node, endings ...string) bool {
	return slices.ContainsFunc(kids, func(k *node) bool {
		return k.list == nil && slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix("/"+k.name, e) })
	})
}

// found is what is in a place: members, and databases, segments and snapshots that lie alone.
type found struct {
	members, lone []*Member
	strangers     []error // about files of other programs
}

func (f *found) all() []*Member { return slices.Concat(f.members, f.lone) }

// nothing is the error of a place in which no member was found.
func (f *found) nothing() error {
	if len(f.strangers) > 0 {
		x := f.strangers[0]
		hint := ""
		if h, ok := errors.AsType[*ForeignError](x); ok {
			hint = h.hint
		}
		return &HintedError{fmt.Errorf("%w; %w", ErrNoMember, x), hint}
	}
	return ErrNoMember
}

// search looks for members below one folder.
type search struct {
	*opener
	maxDepth int
	archive  bool // the folder is one of an archive: archives in it are opened only if there is nothing else
	shallow  bool // only data directories and databases as they are

	found
	waiting   []waiting // lone databases, opened if there is no member
	nested    []waiting // archives in an archive
	below     []string  // data directories and databases below data directories
	hiding    *search   // what is in hidden folders
	unlisted  []string  // what is hidden or below a data directory, and could not be looked through
	tooDeep   string    // a folder that was too deep to be looked through
	noMembers []string  // archives without a member
}

// waiting is a file outside of any member.
type waiting struct {
	*node
	elems []string
}

// look finds the members at and below root, a folder whose path is elems.
func (o *opener) look(root *node, elems []string, depth int) (*found, error) {
	s := &search{opener: o, maxDepth: depth, archive: depth == noLimit}
	err := s.all(root, elems)
	return &s.found, err
}

// all finds the members at and below root, a folder that was given.
func (s *search) all(root *node, elems []string) error {
	if err := s.find(root, elems, 0); err != nil {
		return err
	}
	if len(s.members) == 0 {
		if _, err := s.take(root, elems, true); err != nil {
			return err
		}
	}
	return s.settle()
}

// settle decides what of all that was seen is a member, and says what is left out.
func (s *search) settle() error {
	s.pair()
	names := func(ws []waiting) (out []string) {
		for _, w := range ws {
			out = append(out, w.origin)
		}
		return out
	}
	switch {
	case len(s.members) > 0:
		for _, m := range s.lone {
			s.leaveOut(besideMembers, m.Origin)
		}
		s.lone = nil
		s.leaveOut(besideMembers, names(s.waiting)...)
	default:
		for _, w := range s.waiting {
			if err := s.open1(w); err != nil {
				return err
			}
		}
		if len(s.lone) == 0 {
			for _, w := range s.nested {
				if err := s.open1(w); err != nil {
					return err
				}
			}
			s.nested = nil
			s.pair()
			if len(s.members) > 0 && len(s.lone) > 0 {
				return s.settle()
			}
		}
	}
	slices.SortStableFunc(s.lone, func(a, b *Member) int { return strings.Compare(a.Origin, b.Origin) })
	s.leaveOut(packedBeside, names(s.nested)...)
	s.nested, s.waiting = nil, nil
	any := len(s.all1()) > 0
	if h := s.hiding; h != nil {
		s.hiding = nil
		if !any {
			if err := h.settle(); err != nil {
				return err
			}
			s.members, s.lone, s.strangers = h.members, h.lone, append(s.strangers, h.strangers...)
			any = len(s.all1()) > 0
		} else {
			for _, m := range h.all1() {
				s.leaveOut(hidden, m.Origin)
			}
			s.leaveOut(hidden, names(h.waiting)...)
		}
	}
	if !any {
		return nil
	}
	s.kops()
	s.leaveOut(belowDataDir, s.below...)
	s.leaveOut("no etcd member in it", s.noMembers...)
	s.leaveOut("could not be looked through", s.unlisted...)
	for _, x := range s.strangers {
		if f, ok := errors.AsType[*ForeignError](x); ok {
			s.leaveOut(f.What, f.Path)
		}
	}
	return nil
}

func (s *search) all1() []*Member { return s.found.all() }

// kops says that etcd-manager of kOps keeps backups of two clusters side by side: main/TIME-SEQ/etcd.backup.gz, events/...
func (s *search) kops() {
	has := func(cluster string) bool {
		return slices.ContainsFunc(s.lone, func(m *Member) bool {
			elems := strings.Split(filepath.ToSlash(m.Origin), "/")
			return len(elems) > 2 && strings.HasPrefix(elems[len(elems)-1], "etcd.backup.") && elems[len(elems)-3] == cluster
		})
	}
	if has("main") && has("events") {
		s.said = append(s.said, "main and events are backups of two clusters (kOps): compare within each of them")
	}
}

// Why something was left out.
const (
	besideMembers = "not part of a data directory, and there are data directories; name it to read it"
	packedBeside  = "packed, beside what is not; unpack it, and name it to read it"
	belowDataDir  = "below another data directory; name it to read it"
	hidden        = "hidden; name it to read it"
	logApart      = "a log apart, and it does not show whose; NAME=DATA,wal=DIR joins it to a data directory"
)

// take adds the member whose data directory, or part of one, n is. It returns the folders below it that may hold other
// members, and false if n is none.
func (s *search) take(n *node, elems []string, given bool) (bool, error) {
	kids, err := n.list()
	if err != nil {
		return false, err
	}
	prefix, from, err := layout(n, kids, given)
	if err != nil || prefix == "" {
		return false, err
	}
	m := &Member{Origin: n.origin, elems: elems, apart: prefix == "member/wal"}
	s.members = append(s.members, m)
	if err := s.collect(m, from, prefix); err != nil || prefix != "member" {
		return true, err
	}
	return true, s.under(n, from, elems)
}

// under looks for what else lies in a data directory.
func (s *search) under(n, from *node, elems []string) error {
	b := &search{opener: s.opener, maxDepth: s.maxDepth, shallow: true}
	for _, dir := range []*node{n, from} {
		kids, err := dir.list()
		if err != nil {
			return err
		}
		for _, k := range kids {
			if k == from || dir == from && (k.name == "snap" || k.name == "wal" || strings.HasPrefix(k.name, "wal.")) {
				continue // wal.tmp is what an interrupted first start leaves
			}
			if err := b.kid(k, elems, 1, map[string]string{}); s.ctx.Err() != nil {
				return pathError(k.origin, s.ctx.Err())
			} else if err != nil { // the member itself can be read
				s.unlisted = append(s.unlisted, k.origin)
			}
		}
		if n == from {
			break
		}
	}
	if b.hiding != nil {
		b.members, b.waiting = append(b.members, b.hiding.members...), append(b.waiting, b.hiding.waiting...)
	}
	for _, m := range b.members {
		if m.apart {
			s.members = append(s.members, m) // --wal-dir below --data-dir
			continue
		}
		s.below = append(s.below, m.Origin)
	}
	for _, w := range b.waiting {
		s.below = append(s.below, w.origin)
	}
	s.below = append(s.below, b.below...)
	return nil
}

// find adds the members at and below n.
func (s *search) find(n *node, elems []string, depth int) error {
	if err := s.ctx.Err(); err != nil {
		return pathError(n.origin, err)
	}
	if ok, err := s.take(n, elems, false); ok || err != nil {
		return err
	}
	kids, err := n.list()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(kids, func(k *node) bool { return k.load != nil && segmentName(k.name) }) {
		if n.name == "wal" && depth > 0 {
			elems = elems[:len(elems)-1]
		}
		m := &Member{Origin: n.origin, elems: elems, apart: true, loose: n.name != "wal" && depth > 0}
		s.members = append(s.members, m)
		return s.collect(m, n, "member/wal")
	}
	stems := map[string]string{}
	for _, k := range kids {
		if k.list != nil && depth == s.maxDepth {
			s.tooDeep = k.origin
			continue
		}
		before := len(s.members)
		if err := s.kid(k, elems, depth+1, stems); err != nil {
			return err
		}
		if len(s.members) > before {
			// node1/ beside node1.tar.gz is one member, unpacked: two would only agree with themselves.
			if first, ok := stems[stem(k.name)]; ok {
				return fmt.Errorf("%s: both %s and %s hold members: name the ones to read", n.origin, first, k.name)
			}
			stems[stem(k.name)] = k.name
		}
	}
	return nil
}

// kid looks into a file or folder that is not part of a member.
func (s *search) kid(k *node, elems []string, depth int, stems map[string]string) error {
	switch {
	case k.name == ".git", k.name == "lost+found", strings.HasPrefix(k.name, "._"): // what only root may list; what macOS puts beside files
		return nil
	case strings.HasPrefix(k.name, "."):
		h := s.hiding
		if h == nil {
			h = &search{opener: s.opener, maxDepth: s.maxDepth, archive: s.archive, shallow: s.shallow}
			s.hiding = h
		}
		plain := &node{name: strings.TrimLeft(k.name, "."), origin: k.origin, list: k.list, load: k.load, open: k.open, bad: k.bad}
		if err := h.kid(plain, elems, depth, stems); s.ctx.Err() != nil {
			return pathError(k.origin, s.ctx.Err())
		} else if err != nil {
			s.unlisted = append(s.unlisted, k.origin)
		}
		return nil
	case k.list != nil:
		return s.find(k, slices.Concat(elems, splitElems(k.name)), depth)
	case k.load != nil:
		return s.file(waiting{k, slices.Concat(elems, splitElems(stem(k.name)))})
	}
	return nil
}

// file looks what a file outside of any member is.
func (s *search) file(w waiting) error {
	src, done, err := w.open()
	if err != nil {
		return err
	}
	defer done()
	head, err := src.head()
	if err != nil {
		return err
	}
	k, x := sniff(head, w.name)
	if s.shallow {
		if k == boltKind {
			s.waiting = append(s.waiting, w)
		}
		return nil
	}
	name := w.name
	if k.compressed() {
		name = unpackedName(name)
		inner, _ := sniff(s.peek(src, k), name)
		if inner.container() {
			k = inner
		} else if k = inner; k == foreignKind || isTarName(w.name) {
			k = tarKind // whatever it is, it has to be unpacked to be named
			if !isTarName(w.name) {
				return nil
			}
		}
	}
	switch {
	case k == boltKind, !k.container() && k != foreignKind && isDBName(name):
		s.waiting = append(s.waiting, w)
	case k.container() && s.archive:
		s.nested = append(s.nested, w)
	case k.container():
		return s.open1(w)
	case k == foreignKind && x != nil && x.hint != "":
		s.strangers = append(s.strangers, src.foreign(x))
	}
	return nil
}

// isDBName tells by its name whether a file outside of a member is a database, whatever it looks like.
func isDBName(name string) bool { return name == "db" || strings.HasSuffix(name, ".db") }

// open1 opens a file and adds what is in it.
func (s *search) open1(w waiting) error {
	src, done, err := w.open()
	if err != nil {
		return err
	}
	defer done()
	src.elems = w.elems
	f, err := s.read(src, w.load)
	switch {
	case errors.Is(err, ErrNoMember):
		s.noMembers = append(s.noMembers, w.origin)
		return nil
	case err != nil:
		if x, ok := errors.AsType[*ForeignError](err); ok {
			s.strangers = append(s.strangers, x)
			return nil
		}
		return err
	}
	s.members = append(s.members, f.members...)
	s.lone = append(s.lone, f.lone...)
	s.strangers = append(s.strangers, f.strangers...)
	return nil
}

// layout tells which part of a data directory n is: the name of that part, and the folder that has it. Only for the
// folder that was given are names of folders enough: other programs have folders named snap and wal too.
func layout(n *node, kids []*node, given bool) (prefix string, from *node, err error) {
	if m := folderNamed(kids, "member"); m != nil {
		inner, err := m.list()
		if err != nil {
			return "", nil, err
		}
		if ok, err := isMemberFolder(m, inner, given); ok || given || err != nil {
			return "member", m, err
		}
	}
	if ok, err := isMemberFolder(n, kids, given); ok || err != nil {
		return "member", n, err
	}
	if !given {
		return "", nil, nil
	}
	if ok, err := hasSnap(kids); ok || err != nil || n.name == "snap" && hasFile(kids, "/db") {
		return "member/snap", n, err
	}
	if hasFile(kids, ".wal") {
		return "member/wal", n, nil
	}
	return "", nil, nil
}

// hasSnap tells whether a .snap file of raft is among kids; backups may be called so, too.
func hasSnap(kids []*node) (bool, error) {
	for _, k := range kids {
		if !strings.HasSuffix(k.name, ".snap") || k.list != nil {
			continue
		}
		if k.open == nil {
			return true, nil
		}
		if is, _, err := k.sniff(); err != nil || is != boltKind && !is.container() {
			return err == nil, err
		}
	}
	return false, nil
}

func isMemberFolder(n *node, kids []*node, given bool) (bool, error) {
	snap, wal := folderNamed(kids, "snap"), folderNamed(kids, "wal")
	switch {
	case snap == nil && wal == nil:
		return n.name == "member" && len(kids) == 0, nil
	case given, n.name == "member", snap != nil && wal != nil:
		return true, nil
	case snap == nil:
		return false, nil // the log may belong to a data directory beside it
	}
	inner, err := snap.list()
	return err == nil && hasFile(inner, "/db", ".snap", ".snap.db"), err
}

// collect opens the files below n, a part of a data directory called name, and adds them to m.
func (s *search) collect(m *Member, n *node, name string) error {
	if err := s.ctx.Err(); err != nil {
		return pathError(n.origin, err)
	}
	kids, err := n.list()
	if err != nil {
		return err
	}
	for _, k := range kids {
		full := name + "/" + k.name
		switch {
		case k.bad != "":
			f := finding.New("not-a-file", finding.Warning, full, "%s", k.bad)
			if slot, _ := m.slot(full); slot != &m.Other || full == "member/wal" || full == "member/snap" {
				f.Severity = finding.Error
				f = f.Lost()
			}
			m.Findings = append(m.Findings, f)
		case k.list != nil && k.name == "lost+found": // a log on a disk of its own
		case k.list != nil:
			if err := s.collect(m, k, full); err != nil {
				return err
			}
		default:
			f, err := k.load()
			if err != nil {
				return err
			}
			f.Name = full
			m.add(f)
			m.say(f)
		}
	}
	return nil
}

// slot returns where a file of that name belongs: one of the lists, or nil for the database itself.
func (m *Member) slot(name string) (list *[]*File, isDB bool) {
	dir, base := path.Split(name)
	switch {
	case strings.HasPrefix(base, "._"): // what macOS puts beside a file in archives
		return &m.Other, false
	case name == "member/snap/db":
		return nil, true
	case dir == "member/snap/" && strings.HasSuffix(base, ".snap"):
		return &m.Snap, false
	case dir == "member/snap/" && strings.HasSuffix(base, ".snap.db"):
		return &m.SnapDB, false
	case dir == "member/wal/" && strings.HasSuffix(base, ".wal"):
		return &m.WAL, false
	}
	return &m.Other, false
}

// say notes what of f is not read.
func (m *Member) say(f *File) {
	if f.sparse != nil {
		m.Findings = append(m.Findings, f.sparse.finding(f))
	}
}

func (m *Member) add(f *File) {
	list, isDB := m.slot(f.Name)
	if isDB {
		m.DB = f
		return
	}
	*list = append(*list, f)
}

// folder finds the members in a folder on disk.
func (o *opener) folder(path string) ([]*Member, error) {
	elems := pathElems(path)
	name := ""
	if len(elems) > 0 {
		name = elems[len(elems)-1]
	}
	root, err := o.disk(path, name, nil)
	if err != nil {
		return nil, err
	}
	s := &search{opener: o, maxDepth: maxDepth}
	if err := s.all(root, elems); err != nil {
		return nil, err
	}
	if ms := s.all1(); len(ms) > 0 {
		return ms, nil
	}
	if len(s.noMembers) > 0 && len(s.strangers) == 0 {
		return nil, fmt.Errorf("%s: %w, nor in %s", path, ErrNoMember, s.noMembers[0])
	}
	if s.tooDeep != "" {
		return nil, fmt.Errorf("%s: %w, nor %d folders deep; %s was not looked through", path, ErrNoMember, maxDepth, s.tooDeep)
	}
	return nil, fmt.Errorf("%s: %w", path, s.nothing())
}

// file finds the members in a file on disk: an archive, a compressed database, or a database.
func (o *opener) file(path string) ([]*Member, error) {
	src, done, err := openDisk(path)
	if err != nil {
		return nil, err
	}
	defer done()
	f, err := o.read(src, func() (*File, error) { return o.mapDisk(path) })
	if err != nil {
		return nil, err
	}
	return f.all(), nil
}

func openDisk(path string) (*source, func(), error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, pathError(path, err)
	}
	fi, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, nil, pathError(path, err)
	}
	return fileSource(f, path, fi.Size()), func() { _ = f.Close() }, nil // it was only read
}

// read finds the members in a file that is not part of one. load opens it as it is.
func (o *opener) read(src *source, load func() (*File, error)) (*found, error) {
	head, err := src.head()
	if err != nil {
		return nil, err
	}
	k, x := sniff(head, src.name)
	if k == unknown && hasSuffix(src.name, slices.Concat(packedSuffixes, []string{".zip", ".tar", ".tgz", ".tzst", ".txz", ".tbz2"})...) {
		if block := head[:min(len(head), tarBlock)]; len(block) == tarBlock && !slices.Equal(block, zeros[:tarBlock]) {
			return nil, fmt.Errorf("%s: not packed in any way that is read here (tar, zip, gzip, zstd, xz, bzip2), though its name says so", src.path)
		}
		k = tarKind // empty, or zeros: an archive of nothing
	}
	switch { // a damaged one has its name left
	case k != unknown:
	case strings.HasSuffix(src.name, ".wal"):
		k = segmentKind
	case strings.HasSuffix(src.name, ".snap"):
		k = snapKind
	}
	switch {
	case k.container():
		return o.unpacker(src, k).unpack()
	case k == foreignKind:
		return nil, src.foreign(x)
	}
	f, err := load()
	if err != nil {
		return nil, err
	}
	m := &Member{Origin: f.Origin, Bare: true, elems: src.elems}
	switch f.Name = src.name; k {
	case segmentKind:
		f.Name = "member/wal/" + loneSegmentName(src.name)
		m.WAL = []*File{f}
	case snapKind:
		f.Name = "member/snap/" + loneSnapName(src.name)
		m.Snap = []*File{f}
	default:
		m.DB = f
	}
	m.say(f)
	return &found{lone: []*Member{m}}, nil
}

// only reads the only file of an archive, if it shows what it is. Else it returns before.
func (u *unpacker) only(e *entry, before *found) (*found, error) {
	src, _, err := e.open()
	if err != nil {
		return nil, err
	}
	if k, _, err := e.sniff(); err != nil || k == unknown {
		return before, err
	}
	return u.read(src, e.load)
}

// disk returns the node of a file or folder on disk. Links are followed; up are the folders above it, so that a link to
// one of them is seen.
func (o *opener) disk(path, name string, up []os.FileInfo) (*node, error) {
	if o.seen++; o.seen > o.opts.MaxEntries {
		return nil, fmt.Errorf("%s: more than %d files to look through: name the members themselves", path, o.opts.MaxEntries)
	}
	n := &node{name: name, origin: path}
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		n.bad = "symbolic link to nothing"
	case errors.Is(err, syscall.ELOOP):
		return nil, fmt.Errorf("%s: loop of symbolic links", path)
	case err != nil:
		return nil, pathError(path, err)
	case fi.IsDir():
		if slices.ContainsFunc(up, func(u os.FileInfo) bool { return os.SameFile(u, fi) }) {
			return nil, fmt.Errorf("%s: loop of symbolic links", path)
		}
		n.list = sync.OnceValues(func() ([]*node, error) {
			entries, err := os.ReadDir(path)
			if err != nil {
				return nil, pathError(path, err)
			}
			var kids []*node
			for _, e := range entries {
				if err := o.ctx.Err(); err != nil {
					return nil, pathError(path, err)
				}
				k, err := o.disk(filepath.Join(path, e.Name()), e.Name(), append(slices.Clip(up), fi))
				if err != nil {
					return nil, err
				}
				kids = append(kids, k)
			}
			return kids, nil
		})
	case fi.Mode().IsRegular():
		n.load = func() (*File, error) { return o.mapDisk(path) }
		n.open = func() (*source, func(), error) { return openDisk(path) }
	default:
		n.bad = "neither a file nor a folder"
	}
	return n, nil
}
