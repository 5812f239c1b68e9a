package evidence

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/inspect/finding"
)

// entry is a file or folder of an archive.
type entry struct {
	*node
	at, size int64 // of a file, in the spool
	kids     []*node
}

// untar unpacks every entry, as far as the archive goes.
func (u *unpacker) untar() error {
	tr := tar.NewReader(u.plain)
	last := "before its first entry"
	for {
		from := (u.plain.n + tarBlock - 1) / tarBlock * tarBlock
		h, err := tr.Next()
		if errors.Is(err, io.EOF) && u.plain.n >= from+tarBlock && u.plain.tail == [tarBlock]byte{} {
			return u.drain(last)
		}
		if errors.Is(err, io.EOF) || u.cut(err) { // a whole archive ends in zeros
			u.reportCut("%s", last)
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return u.fail("", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := u.count(); err != nil {
			return u.fail(h.Name, err)
		}
		name, err := checkName(h.Name, h.Typeflag == tar.TypeDir)
		if err != nil {
			return u.fail(h.Name, err)
		}
		last = "after " + escape(name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = u.addFolder(name)
		case tar.TypeLink:
			err = u.addLink(name, path.Clean(h.Linkname))
		case tar.TypeReg, tar.TypeGNUSparse:
			err = u.room(h.Size)
		case tar.TypeSymlink:
			err = u.addBad(name, badLink)
		default:
			err = u.addBad(name, "neither a file nor a folder")
		}
		if err != nil {
			return u.fail(h.Name, err)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse {
			continue
		}
		e, err := u.store(tr)
		cut := u.cut(err)
		if err != nil && !cut {
			return u.fail(h.Name, err)
		}
		if err := u.addFile(name, e); err != nil {
			return u.fail(h.Name, err)
		}
		if cut {
			u.reportCut("in %s: %d of %d bytes are there", escape(name), e.size, h.Size)
			return nil
		}
	}
}

// drain reads what comes after the last entry, because the checksum is behind it.
func (u *unpacker) drain(last string) error {
	more := false
	for {
		n, err := fill(u.plain, u.buf)
		for p := u.buf[:n]; len(p) > 0 && !more; {
			k, zero := run(p)
			p, more = p[k:], !zero
		}
		if trailing(err) {
			more, err = true, io.EOF
		}
		switch {
		case err == nil && u.plain.n > u.opts.MaxBytes:
			return u.fail("", u.room(u.opts.MaxBytes+1))
		case err == nil:
			continue
		case errors.Is(err, io.EOF) && more:
			u.report("archive-trailing-data", finding.Warning, "more data follows the end mark of the archive: it was not read")
		case errors.Is(err, io.EOF):
		case u.cut(err):
			u.reportCut("%s, in its checksum", last)
		default:
			return u.fail("", err)
		}
		return nil
	}
}

// escape makes a name from an archive safe to print.
func escape(name string) string { return strings.Trim(strconv.Quote(name), `"`) }

// badLink is said of a link in an archive, which may lead anywhere.
const badLink = "a symbolic link, which is not followed in an archive: pack the file itself, tar has the option -h for that"

// count refuses more entries than one file may hold, with all archives in it.
func (u *unpacker) count() error {
	if u.src.filled.entries++; u.src.filled.entries > u.opts.MaxEntries {
		return fmt.Errorf("more than %d entries (limit of files and folders in an archive)", u.opts.MaxEntries)
	}
	return nil
}

// checkName returns the clean name of an entry that may be unpacked.
func checkName(given string, folder bool) (string, error) {
	name := path.Clean(given)
	switch {
	case len(given) > maxNameLen:
		return "", fmt.Errorf("the name has more than %d bytes", maxNameLen)
	case strings.HasPrefix(given, "/"):
		return "", errors.New("absolute paths are refused")
	case slices.Contains(strings.Split(given, "/"), ".."):
		return "", errors.New("the path leads out of the archive")
	case name == "." && !folder:
		return "", errors.New("a file without a name")
	}
	return name, nil
}

// folder makes the node of a folder of the archive.
func (u *unpacker) folder(name, origin string) *node {
	e := &entry{node: &node{name: path.Base(name), origin: u.src.path + origin}}
	e.list = func() ([]*node, error) {
		slices.SortFunc(e.kids, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
		return e.kids, nil
	}
	u.tree[name] = e
	return e.node
}

// addFolder adds a folder and those above it. Archives may name a folder more than once: nothing is lost by that.
func (u *unpacker) addFolder(name string) error {
	if e, ok := u.tree[name]; ok {
		if e.list == nil {
			return errors.New("the name is given to two entries")
		}
		return nil
	}
	if err := u.addFolder(path.Dir(name)); err != nil {
		return err
	}
	return u.hang(name, u.folder(name, "!"+escape(name)))
}

func (u *unpacker) addFile(name string, e *entry) error {
	origin := u.src.path + "!" + escape(name)
	return u.addNode(name, e, &node{
		name: path.Base(name), origin: origin,
		load: func() (*File, error) { return u.load(e, origin) },
		open: func() (*source, func(), error) { return u.inside(name, e), func() {}, nil },
	})
}

// addBad adds what is neither a file nor a folder.
func (u *unpacker) addBad(name, why string) error {
	return u.addNode(name, &entry{}, &node{name: path.Base(name), origin: u.src.path + "!" + escape(name), bad: why})
}

// addLink adds a second name of a file of the archive.
func (u *unpacker) addLink(name, target string) error {
	e, ok := u.tree[target]
	if !ok || e.load == nil {
		return u.addBad(name, "a hard link to something that is not in the archive before it")
	}
	return u.addFile(name, &entry{at: e.at, size: e.size})
}

func (u *unpacker) addNode(name string, e *entry, n *node) error {
	if _, ok := u.tree[name]; ok {
		return errors.New("the name is given to two entries")
	}
	if err := u.addFolder(path.Dir(name)); err != nil {
		return err
	}
	e.node = n
	u.tree[name] = e
	return u.hang(name, n)
}

// hang puts n into its folder, which exists.
func (u *unpacker) hang(name string, n *node) error {
	if len(u.tree) > 2*u.opts.MaxEntries {
		return fmt.Errorf("more than %d entries and folders (limit of files and folders in an archive)", 2*u.opts.MaxEntries)
	}
	dir := u.tree[path.Dir(name)]
	dir.kids = append(dir.kids, n)
	return nil
}

// files returns the files of the archive.
func (u *unpacker) files() []*entry {
	var out []*entry
	for _, e := range u.tree {
		if e.load != nil {
			out = append(out, e)
		}
	}
	return out
}
