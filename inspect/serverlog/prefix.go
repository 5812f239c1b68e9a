package serverlog

import "bytes"

// maxPrefixes is how many prefixes may stand before a line: the name of a pod, a time, and journald's.
const maxPrefixes = 3

// prefix takes off what others put before lines of the server:
//
//	2026-11-21T08:45:20.701323456Z stderr F ...         the runtime of a container (CRI)
//	2026-11-21T08:45:20.701323456Z ...                  kubectl logs --timestamps
//	[pod/etcd-0/etcd] ...                               kubectl logs --prefix
//	Nov 21 08:45:20 host etcd[1234]: ...                journalctl
//	2026-11-21T08:45:20+0000 host etcd[1234]: ...       journalctl -o short-iso
//
// Of a time without a year nothing is made.
func (r *Record) prefix(line []byte) (rest []byte, ok bool) {
	if len(line) > 0 && line[0] == '[' && bytes.HasPrefix(line, []byte("[pod/")) {
		_, rest, ok = bytes.Cut(line, []byte("] "))
		return rest, ok
	}
	if rest, ok := unit(line, len("Nov 21 08:45:20")); ok && line[3] == ' ' && line[9] == ':' && line[12] == ':' {
		r.journal = true
		return rest, true
	}
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(stamp) < 20 || stamp[4] != '-' || stamp[10] != 'T' {
		return nil, false
	}
	t := when(string(stamp))
	if t.IsZero() {
		return nil, false
	}
	r.outer = t
	for _, stream := range [...]string{"stdout ", "stderr "} {
		if after, cri := bytes.CutPrefix(rest, []byte(stream)); cri && len(after) > 1 && after[1] == ' ' && (after[0] == 'F' || after[0] == 'P') {
			r.partial = after[0] == 'P'
			return after[2:], true
		}
	}
	if after, is := unit(line, len(stamp)); is {
		r.journal = true
		return after, true
	}
	return rest, true
}

// unit takes off a time of n bytes and " host name[pid]: ".
func unit(line []byte, n int) (rest []byte, ok bool) {
	if len(line) < n+2 || line[n] != ' ' {
		return nil, false
	}
	head, rest, ok := bytes.Cut(line[n+1:], []byte(": "))
	host, name, two := bytes.Cut(head, []byte{' '})
	if !ok || !two || len(host) == 0 || bytes.IndexByte(name, ' ') >= 0 || !bytes.HasSuffix(name, []byte{']'}) || bytes.IndexByte(name, '[') < 1 {
		return nil, false
	}
	return rest, true
}

// settle gives a record what its prefix knows and the line itself does not say.
func (r *Record) settle() {
	if r.Time.IsZero() {
		r.Time = r.outer
		r.Local = false
	}
	if r.Local && !r.outer.IsZero() {
		// The same moment twice: once without a zone, and once with it.
		r.Time, r.Local = r.outer, false
	}
	if r.Format == Text && r.journal {
		r.Format = Capnslog // which leaves all but the message to journald
	}
}
