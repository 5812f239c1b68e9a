package attach

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/messages"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect/kube"
	"etcd-autopsy/inspect/schema"
)

// Redactor replaces keys and names by tokens that say nothing to those who do not have its key. Equal parts stay equal.
type Redactor struct {
	key    []byte
	labels map[string]string // of members, by label
	words  []string          // sorted: everything that must not be shown, as it may stand in a text
	made   map[string]bool   // tokens, which are left as they are
	tokens map[string]string // by what they stand for
	ids    map[uint64]bool
	seen   map[uintptr]bool
	hash   hash.Hash // with key
}

// KeySize is the length of a redaction key in bytes.
const KeySize = 32

// tokenLen is the length of a token: 50 bits, so that a million segments rarely collide.
const tokenLen = 10

// NewRedactor knows what is secret. Labels are those of the members, in their order.
func NewRedactor(key []byte, labels []string, s *Secrets) *Redactor {
	r := &Redactor{key: key, labels: map[string]string{}, made: map[string]bool{}, tokens: map[string]string{}, ids: map[uint64]bool{}, seen: map[uintptr]bool{}}
	for i, l := range labels {
		r.labels[l] = fmt.Sprintf("member-%d", i+1)
		r.made[r.labels[l]] = true
	}
	r.words = slices.Clone(labels)
	for _, w := range s.words {
		if w != "" && !public[w] {
			r.words = append(r.words, forms(w)...)
		}
	}
	slices.Sort(r.words)
	r.words = slices.Compact(r.words)
	return r
}

// public are names that etcd itself gives.
var public = map[string]bool{"root": true, "default": true, "/": true}

// shortened is how much of a long key a summary of a request shows.
const shortened = 256

// forms are the ways in which a word may stand in a text: as it is, quoted, in hex and in base64.
func forms(w string) []string {
	fs := []string{w}
	if len(w) > shortened {
		fs = append(fs, w[:shortened])
	}
	if quoted := strconv.Quote(w); quoted[1:len(quoted)-1] != w {
		fs = append(fs, quoted[1:len(quoted)-1])
	}
	if !diff.Key(w).Printable() {
		fs = append(fs, fmt.Sprintf("0x%x", w), fmt.Sprintf("%x", w), base64.StdEncoding.EncodeToString([]byte(w)))
	}
	return fs
}

func (r *Redactor) mac(kind, s string) []byte {
	if r.hash == nil {
		r.hash = hmac.New(sha256.New, r.key)
	}
	r.hash.Reset()
	r.hash.Write([]byte(kind + "\x00" + s)) // a hash takes everything
	return r.hash.Sum(nil)
}

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func (r *Redactor) token(s string) string {
	if s == "" || r.made[s] {
		return s
	}
	t, ok := r.tokens[s]
	if !ok {
		t = encoding.EncodeToString(r.mac("segment", s))[:tokenLen]
		r.tokens[s], r.made[t] = t, true
	}
	return t
}

// Key replaces each segment of a key, and keeps its slashes. That it is one of Kubernetes, and of which resource, stays readable for
// Kubernetes' own groups: the group of a custom resource can name a company.
func (r *Redactor) Key(key string) string {
	if kube.IsResource(key) {
		return key
	}
	parts := strings.Split(key, "/")
	for i := kube.Stored(parts); i < len(parts); i++ {
		parts[i] = r.token(parts[i])
	}
	return strings.Join(parts, "/")
}

// ID replaces the id of a lease, a member or a cluster. 0 stays 0.
func (r *Redactor) ID(id uint64) uint64 {
	if id == 0 || r.ids[id] {
		return id
	}
	t := binary.BigEndian.Uint64(r.mac("id", fmt.Sprint(id))) | 1
	r.ids[t] = true
	return t
}

// Sum replaces the hash of a value, which could be guessed back if the value is short.
func (r *Redactor) Sum(sum string) string {
	if sum == "" || r.made[sum] {
		return sum
	}
	t := r.keyed(sum)
	r.made[t] = true
	return t
}

// keyed is Sum for what is known to be the hash of a value, and leaves nothing in memory: there can be millions.
func (r *Redactor) keyed(sum string) string {
	if sum == "" {
		return ""
	}
	return hex.EncodeToString(r.mac("value", sum))
}

// own are the names of files and directories that etcd gives.
var own = regexp.MustCompile(`^(member|snap|wal|db|\.\.?|[0-9a-f-]+\.(wal|snap|snap\.db))?$`)

// Path replaces the segments of a path of a file, but for what etcd itself names.
func (r *Redactor) Path(path string) string {
	parts := strings.FieldsFunc(path, func(c rune) bool { return c == '/' || c == '!' })
	for i, p := range parts {
		switch label, ok := r.labels[p]; {
		case ok:
			parts[i] = label
		case !own.MatchString(p):
			parts[i] = r.token(p)
		}
	}
	return strings.Join(parts, "/")
}

// word replaces what stands in a text as a whole: a label, a name, a key.
func (r *Redactor) word(w string) string {
	if l, ok := r.labels[w]; ok {
		return l
	}
	if strings.Contains(w, "/") && !strings.Contains(w, "://") {
		return r.Key(w)
	}
	return r.token(w)
}

// longest is the length of the longest word that a text begins with and that ends at the end of one, 0 if there is none.
func (r *Redactor) longest(text string) int {
	prefix := text
	for {
		i, found := slices.BinarySearch(r.words, prefix)
		if !found {
			if i == 0 {
				return 0
			}
			i--
		}
		w := r.words[i]
		n := 0
		for n < len(w) && n < len(prefix) && w[n] == prefix[n] {
			n++
		}
		if n == len(w) && (n == len(text) || !wordByte(text[n-1]) || !wordByte(text[n])) {
			return n
		}
		if n == len(w) {
			n--
		}
		if n <= 0 {
			return 0
		}
		prefix = text[:n]
	}
}

func wordByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_' || b >= 0x80
}

var (
	idText   = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
	hexText  = regexp.MustCompile(`\b0x[0-9a-f]{2,}\b`)
	urlText  = regexp.MustCompile(`\b[a-z][a-z0-9+.-]*://[^\s"',;)\]]+`)
	ipText   = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b|\[?[0-9a-f]*:[0-9a-f:]*:[0-9a-f:]+\]?(:\d+)?`)
	pathText = regexp.MustCompile(`(^|[\s"'(\[,=:!])(\.{0,2}/[^\s"',;:)\]!]+)`)
)

// Text replaces everything in a text that is secret or looks like it: known words, urls, addresses, paths, ids, bytes in
// hex.
func (r *Redactor) Text(s string) string {
	if s == "" || r.made[s] {
		return s
	}
	if r.whole(s) {
		return r.word(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if i > 0 && wordByte(s[i-1]) && wordByte(s[i]) {
			b.WriteByte(s[i])
			i++
			continue
		}
		if n := r.longest(s[i:]); n > 0 {
			b.WriteString(r.word(s[i : i+n]))
			i += n
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	out := urlText.ReplaceAllStringFunc(b.String(), func(u string) string {
		if strings.HasPrefix(u, "https://github.com/etcd-io/") {
			return u
		}
		return r.token(u)
	})
	out = pathText.ReplaceAllStringFunc(out, func(p string) string {
		i := strings.IndexByte(p, '/')
		if strings.HasPrefix(p, "://") {
			return p // of a url that may stay
		}
		for i > 0 && p[i-1] == '.' {
			i--
		}
		dot := len(strings.TrimRight(p, ".")) // of the end of a sentence
		if dot <= i {
			dot = len(p)
		}
		return p[:i] + r.Key(p[i:dot]) + p[dot:]
	})
	out = ipText.ReplaceAllStringFunc(out, func(a string) string {
		if strings.Trim(a, ":[]") == "" {
			return a
		}
		return r.token(a)
	})
	out = hexText.ReplaceAllStringFunc(out, r.token)
	return idText.ReplaceAllStringFunc(out, func(h string) string {
		n, err := hex.DecodeString(h)
		if err != nil {
			return h
		}
		return fmt.Sprintf("%016x", r.ID(binary.BigEndian.Uint64(n)))
	})
}

func (r *Redactor) whole(s string) bool {
	_, ok := slices.BinarySearch(r.words, s)
	return ok
}

// Report takes out of a report what may not be shown.
func (r *Redactor) Report(rep *Report) {
	r.walk(reflect.ValueOf(rep), "")
	rep.Redacted = true
}

// Sums keys the hashes of values only.
func (r *Redactor) Sums(rep *Report) {
	rep.Diff.Keys = rep.Diff.Keys.Map(func(k diff.KeyDiff) diff.KeyDiff {
		k.ByMember = maps.Clone(k.ByMember)
		for label, s := range k.ByMember {
			s.ValueSHA256 = r.keyed(s.ValueSHA256)
			k.ByMember[label] = s
		}
		return k
	})
}

// fixed are fields whose text comes from this program, and that other programs read.
var fixed = map[string]bool{
	"SchemaVersion": true, "Refs": true, "SHA256": true, "Code": true, "Severity": true, "Op": true, "Difference": true, "Type": true, "Kind": true, "Trailer": true, "End": true,
	"ClusterVersion": true, "StorageVersion": true, "DowngradeTo": true, "ByType": true, "Advice": true, "Version": true, "Etcd": true, "ID": true,
}

var version = regexp.MustCompile(`^(\d{1,4}\.\d{1,4}(\.\d{1,4})?)?$`)

// walk changes every text, key and id below a value, whatever the type of the document. What is not known to be this
// program's own words is taken for a secret.
func (r *Redactor) walk(v reflect.Value, field string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if v.Kind() == reflect.Pointer {
			if r.seen[v.Pointer()] {
				return
			}
			r.seen[v.Pointer()] = true
		}
		r.walk(v.Elem(), field)
	case reflect.Struct:
		if e, ok := reflect.TypeAssert[story.Event](v); ok {
			r.event(&e)
			v.Set(reflect.ValueOf(e))
			return
		}
		if l, ok := reflect.TypeAssert[story.ServerLog](v); ok {
			l.File = r.Path(l.File)
			for i, p := range l.Processes {
				l.Processes[i].Version = r.quote(p.Version)
			}
			v.Set(reflect.ValueOf(l))
			return
		}
		if keys, ok := reflect.TypeAssert[diff.KeyDiffs](v); ok {
			v.Set(reflect.ValueOf(keys.Map(r.keyDiff)))
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				r.walk(v.Field(i), f.Name)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			r.walk(v.Index(i), field)
		}
	case reflect.Map:
		r.walkMap(v, field)
	case reflect.String:
		if v.CanSet() {
			v.SetString(r.field(v.Type(), field, v.String()))
		}
	case reflect.Uint64:
		if v.CanSet() && v.Type() == reflect.TypeFor[diff.ID]() {
			v.SetUint(r.ID(v.Uint()))
		}
	}
}

// event takes out of an event what may not be shown: of the words of a server's log all that is not etcd's own.
func (r *Redactor) event(e *story.Event) {
	for i, m := range e.Members {
		e.Members[i] = r.Text(m)
	}
	e.Leader = r.Text(e.Leader)
	if e.Parts == nil {
		e.What = r.Text(e.What)
		return
	}
	what := ""
	for _, p := range e.Parts {
		if p.Quoted {
			what += r.quote(p.Text)
		} else {
			what += p.Text // this program's
		}
	}
	e.What, e.Parts = what, nil
}

// quote is what may be shown of words of a server's log: those of etcd itself, and tokens for all others.
func (r *Redactor) quote(s string) string {
	if r.whole(s) {
		return r.word(s)
	}
	out := ""
	for _, p := range messages.Apart(s) {
		if p.Quoted && !r.whole(p.Text) {
			out += r.token(p.Text)
		} else {
			out += r.Text(p.Text)
		}
	}
	return out
}

// keyDiff takes out of a key what may not be shown.
func (r *Redactor) keyDiff(k diff.KeyDiff) diff.KeyDiff {
	r.walk(reflect.ValueOf(&k).Elem(), "")
	return k
}

func (r *Redactor) walkMap(v reflect.Value, field string) {
	if fixed[field] {
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, k := range v.MapKeys() {
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		key.Set(k)
		value.Set(v.MapIndex(k))
		r.walk(key, "")
		r.walk(value, field)
		out.SetMapIndex(key, value)
	}
	v.Set(out)
}

func (r *Redactor) field(t reflect.Type, name, s string) string {
	switch {
	case t == reflect.TypeFor[diff.Key](), name == "Key", name == "RangeEnd", name == "Keys", name == "LostKeys", name == "ResurrectedKeys", name == "OtherKeys":
		return r.Key(s)
	case name == "Origin", name == "Path":
		return r.Path(s)
	case name == "Buckets" && slices.Contains(schema.Buckets, s):
		return s
	case name == "Buckets":
		return r.token(s)
	case name == "ValueSHA256":
		return r.Sum(s)
	case slices.Contains([]string{"ClusterVersion", "StorageVersion", "DowngradeTo"}, name) && !version.MatchString(s):
		return r.token(s) // a db may hold anything there
	case fixed[name], t != reflect.TypeFor[string]():
		return s
	case strings.HasSuffix(name, "Base64"):
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return ""
		}
		return base64.StdEncoding.EncodeToString([]byte(r.Key(string(b))))
	}
	return r.Text(s)
}
