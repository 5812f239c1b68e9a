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

// lookedFor ends every error about a place without a member.
const lookedFor = "no etcd member here (looked for member/snap/db, snap/db, wal/)"

// maxDepth is how many folders below a folder are searched: DIR/home/user/node1/var/lib/etcd has six.
const maxDepth = 6

// node is a file or folder of the evidence, on disk or in an archive.
type node struct {
	name, origin string
	list         func() ([]*node, error) // of a folder, by name
	load         func() (*File, error)   // of a file
	bad          string                  // why it is neither: a link to nowhere, a socket
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

// search looks for members below one folder.
type search struct {
	*opener
	disk     bool // archives and compressed databases are opened too
	maxDepth int
	members  []*Member
	lone     []loneDB
}

// loneDB is a database outside of any member.
type loneDB struct {
	*node
	elems []string
}

// all finds the members at and below root, a folder that was given and whose path is elems.
func (s *search) all(root *node, elems []string) error {
	if err := s.find(root, elems, 0); err != nil || len(s.members) > 0 {
		return err
	}
	_, err := s.take(root, elems, true)
	return err
}

// take adds the member whose data directory, or part of one, n is. It returns false if n is none.
func (s *search) take(n *node, elems []string, given bool) (bool, error) {
	kids, err := n.list()
	if err != nil {
		return false, err
	}
	prefix, from, err := layout(n, kids, given)
	if err != nil || prefix == "" {
		return false, err
	}
	m := &Member{Origin: n.origin, elems: elems}
	s.members = append(s.members, m)
	return true, s.collect(m, from, prefix)
}

// find adds the members at and below n.
func (s *search) find(n *node, elems []string, depth int) error {
	if err := s.ctx.Err(); err != nil {
		return pathError(n.origin, err)
	}
	if ok, err := s.take(n, elems, false); ok || err != nil || depth == s.maxDepth {
		return err
	}
	kids, err := n.list()
	if err != nil {
		return err
	}
	stems := map[string]string{}
	for _, k := range kids {
		before := len(s.members)
		switch {
		case strings.HasPrefix(k.name, ".") || k.name == "lost+found": // .git, ._node1.tar.gz, what only root may list
		case k.list != nil:
			err = s.find(k, slices.Concat(elems, splitElems(k.name)), depth+1)
		case k.load != nil && s.disk && isTarName(k.name):
			var ms []*Member
			ms, err = s.file(k.origin)
			s.members = append(s.members, ms...)
		case k.load != nil && s.isDB(k.name):
			s.lone = append(s.lone, loneDB{k, slices.Concat(elems, splitElems(stem(k.name)))})
		}
		if err != nil {
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

// isDB tells by its name whether a file outside of a member is a database.
func (s *search) isDB(name string) bool {
	if s.disk {
		name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	}
	return name == "db" || strings.HasSuffix(name, ".db")
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
	switch {
	case !given:
		return "", nil, nil
	case hasFile(kids, ".snap"), n.name == "snap" && hasFile(kids, "/db"):
		return "member/snap", n, nil
	case hasFile(kids, ".wal"):
		return "member/wal", n, nil
	}
	return "", nil, nil
}

func isMemberFolder(n *node, kids []*node, given bool) (bool, error) {
	snap, wal := folderNamed(kids, "snap"), folderNamed(kids, "wal")
	switch {
	case snap == nil && wal == nil:
		return n.name == "member" && len(kids) == 0, nil
	case given, n.name == "member", snap != nil && wal != nil:
		return true, nil
	}
	folder, endings := wal, []string{".wal"}
	if wal == nil {
		folder, endings = snap, []string{"/db", ".snap", ".snap.db"}
	}
	inner, err := folder.list()
	return err == nil && hasFile(inner, endings...), err
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

func (m *Member) add(f *File) {
	list, isDB := m.slot(f.Name)
	if isDB {
		m.DB = f
		return
	}
	*list = append(*list, f)
}

// bare returns the member that a lone database file is.
func bare(f *File, name string, elems []string) *Member {
	f.Name = name
	return &Member{Origin: f.Origin, Bare: true, DB: f, elems: elems}
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
	s := &search{opener: o, disk: true, maxDepth: maxDepth}
	if err := s.all(root, elems); err != nil {
		return nil, err
	}
	if len(s.members) > 0 {
		return s.members, nil
	}
	for _, n := range s.lone {
		ms, err := o.file(n.origin)
		if err != nil {
			return nil, err
		}
		s.members = append(s.members, ms...)
	}
	if len(s.members) == 0 {
		return nil, fmt.Errorf("%s: %s", path, lookedFor)
	}
	return s.members, nil
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
	default:
		n.bad = "neither a file nor a folder"
	}
	return n, nil
}
