package serverlog

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Format is how a line is written.
type Format string

// The formats.
const (
	JSON     Format = "json"     // zap's: the only one of 3.5, by choice in 3.4
	Console  Format = "console"  // zap's for people: by choice from 3.6 on
	Capnslog Format = "capnslog" // the text of 3.2 and 3.3, and of 3.4 unless it is told otherwise
	Text     Format = "text"     // anything else: what the Go runtime prints as it dies, and what flags make the program say
)

// Level is how a line is ranked, in zap's words. It is empty where the line does not say.
type Level string

// Levels.
const (
	Debug Level = "debug"
	Info  Level = "info"
	Warn  Level = "warn"
	Error Level = "error"
	Panic Level = "panic" // the process dies of it
	Fatal Level = "fatal" // the process ends itself
)

// parse takes one line apart, in any of the formats, with any of the prefixes. It never fails: what it does not know is Text.
func (r *Record) parse(line []byte) {
	for range maxPrefixes {
		rest, ok := r.prefix(line)
		if !ok {
			break
		}
		line = rest
	}
	switch {
	case len(line) > 0 && line[0] == '{' && r.json(line):
	case r.capnslog(line):
	case r.raft(line):
	case r.console(line):
	default:
		r.Format, r.message = Text, line
	}
}

// Keys of zap's JSON lines, and of those that Docker and journald wrap others in. Part of the formats.
const (
	keyLevel, keyTime, keyCaller, keyMessage = "level", "ts", "caller", "msg"
	keyDocker                                = "log"
	keyJournal, keyJournalTime               = "MESSAGE", "__REALTIME_TIMESTAMP"
)

// json reads a JSON line, such as
//
//	{"level":"info","ts":"2026-11-21T08:45:20.701323Z","caller":"embed/etcd.go:140","msg":"...","field":...}
func (r *Record) json(line []byte) bool {
	r.fields = r.fields[:0]
	found, wrapped := false, []byte(nil)
	object(line, func(name, value []byte) {
		switch string(name) {
		case keyLevel:
			r.Level = level(text(value))
		case keyTime:
			r.Time = when(text(value))
		case keyCaller:
			r.caller = value
		case keyMessage:
			r.message, found = textBytes(value), true
		case keyDocker, keyJournal:
			wrapped = textBytes(value)
		case keyJournalTime:
			if us, err := strconv.ParseInt(text(value), 10, 64); err == nil {
				r.outer = time.UnixMicro(us).UTC()
			}
		default:
			r.fields = append(r.fields, Field{name, value})
		}
	})
	if found {
		r.Format = JSON
		return true
	}
	if wrapped != nil && !r.unwrapped {
		if t := when(r.value("time")); !t.IsZero() {
			r.outer = t
		}
		r.fields, r.unwrapped = r.fields[:0], true
		r.parse(bytes.TrimRight(wrapped, "\r\n"))
		return true
	}
	r.fields = r.fields[:0]
	return false
}

// object calls each for the fields of the JSON object that line begins with, in their order, and stops where it is no JSON any more: the end
// of a line that is too long is missing. Value is as it is written.
func object(line []byte, each func(name, value []byte)) {
	i := 1
	for {
		for i < len(line) && (line[i] == ' ' || line[i] == ',' || line[i] == '\t') {
			i++
		}
		if i >= len(line) || line[i] != '"' {
			return
		}
		end := stringLen(line[i:])
		if end < 0 {
			return
		}
		name := line[i+1 : i+end-1]
		for i += end; i < len(line) && (line[i] == ' ' || line[i] == ':'); {
			i++
		}
		n := value(line[i:])
		if n < 0 {
			return
		}
		each(name, line[i:i+n])
		i += n
	}
}

// stringLen is the length of the JSON string that b begins with, -1 if it does not end.
func stringLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// value is the length of the JSON value that b begins with, -1 if there is none or it does not end.
func value(b []byte) int {
	if len(b) > 0 && b[0] == '"' {
		return stringLen(b)
	}
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := stringLen(b[i:])
			if n < 0 {
				return -1
			}
			i += n - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return positive(i)
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return positive(i)
			}
		}
	}
	return -1
}

func positive(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// text is a JSON value as text: what a string says, and anything else as it is written.
func text(value []byte) string { return string(textBytes(value)) }

func textBytes(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return value
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return inner
	}
	return []byte(s)
}

// level is a level by the name that zap has for it.
func level(name string) Level {
	switch l := Level(strings.ToLower(name)); l {
	case Debug, Info, Warn, Error, Panic, Fatal:
		return l
	case "dpanic":
		return Error
	}
	return ""
}

// layouts of times. Part of the formats.
var layouts = []string{"2006-01-02T15:04:05.999999999Z0700", time.RFC3339Nano}

// when reads a time: of zap, with its zone, or as seconds since 1970, as some settings have it. It is zero if it is none.
func when(s string) time.Time {
	if len(s) == 0 {
		return time.Time{}
	}
	if s[0] >= '0' && s[0] <= '9' && len(s) > 19 && s[4] == '-' {
		for _, l := range layouts {
			if t, err := time.Parse(l, s); err == nil {
				return t.UTC()
			}
		}
		return time.Time{}
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f > 0 && f < 1<<33 {
		return time.UnixMicro(int64(f * 1e6)).UTC()
	}
	return time.Time{}
}

// capnslogTime is the layout of times in the old text format, which have no zone. Part of the format.
const capnslogTime = "2006-01-02 15:04:05.000000"

var capnslogLevels = map[byte]Level{'C': Fatal, 'E': Error, 'W': Warn, 'N': Info, 'I': Info, 'D': Debug, 'T': Debug}

// capnslog reads a line of the old text format, such as
//
//	2026-11-21 08:23:09.850254 I | etcdmain: etcd Version: 3.2.30
//
// Its time is the local one of the server, and taken for UTC. With journald as the parent of the server only the message is written, and the
// time stands in the prefix.
func (r *Record) capnslog(line []byte) bool {
	const at = len(capnslogTime)
	if len(line) < at+5 || line[at] != ' ' || string(line[at+2:at+5]) != " | " {
		return false
	}
	l, known := capnslogLevels[line[at+1]]
	t, err := time.Parse(capnslogTime, string(line[:at]))
	if !known || err != nil {
		return false
	}
	r.Format, r.Level, r.Time, r.message = Capnslog, l, t, line[at+5:]
	r.Local = true
	// The package comes first. It is a path, without spaces.
	if i := bytes.Index(r.message, []byte(": ")); i > 0 && bytes.IndexByte(r.message[:i], ' ') < 0 {
		r.caller, r.message = r.message[:i], r.message[i+2:]
	}
	return true
}

// raftTime is the layout of times in lines of raft's own logger, which have no zone, and raftLevels are their levels. Part of the format.
const raftTime = "2006/01/02 15:04:05"

var raftLevels = map[string]Level{"DEBUG": Debug, "INFO": Info, "WARN": Warn, "ERROR": Error, "FATAL": Fatal, "PANIC": Panic}

// raft reads a line that raft writes itself where 3.4 logs as text (raft/logger.go, header and raftLogger), such as
//
//	raft2026/11/30 04:41:08 INFO: raft.node: 1d99cc495b4af2c4 elected leader 1d99cc495b4af2c4 at term 2
func (r *Record) raft(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("raft"))
	if !ok || len(rest) < len(raftTime)+1 || rest[len(raftTime)] != ' ' {
		return false
	}
	t, err := time.Parse(raftTime, string(rest[:len(raftTime)]))
	name, message, ok := bytes.Cut(rest[len(raftTime)+1:], []byte(": "))
	l, known := raftLevels[string(name)]
	if err != nil || !ok || !known {
		return false
	}
	r.Format, r.Level, r.Time, r.Local, r.caller, r.message = Capnslog, l, t, true, line[:len("raft")], message
	return true
}

// console reads a line of zap's format for people, parted by tabs:
//
//	2026-11-30T02:23:47.492328Z	info	etcdmain/etcd.go:124	Initialize and start etcd server	{"data-dir": "d"}
//
// The name of a logger may stand behind the level.
func (r *Record) console(line []byte) bool {
	stamp, rest, ok := bytes.Cut(line, []byte{'\t'})
	if !ok {
		return false
	}
	rank, rest, ok := bytes.Cut(rest, []byte{'\t'})
	l, t := level(string(rank)), when(string(stamp))
	if !ok || l == "" || t.IsZero() {
		return false
	}
	for range 2 { // a logger, and the caller
		part, after, ok := bytes.Cut(rest, []byte{'\t'})
		if !ok || bytes.IndexByte(part, ' ') >= 0 {
			break
		}
		if rest = after; bytes.Contains(part, []byte(".go:")) {
			r.caller = part
			break
		}
	}
	r.Format, r.Level, r.Time, r.message = Console, l, t, rest
	if i := bytes.LastIndexByte(rest, '\t'); i >= 0 && i+1 < len(rest) && rest[i+1] == '{' {
		r.message, r.fields = rest[:i], r.fields[:0]
		object(rest[i+1:], func(name, value []byte) { r.fields = append(r.fields, Field{name, value}) })
	}
	return true
}
