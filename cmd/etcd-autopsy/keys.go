package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

// parseKey reads a key as a person types it: bytes that cannot be printed are in hex behind 0x.
func parseKey(s string) (string, error) {
	h, ok := strings.CutPrefix(s, "0x")
	if !ok {
		return s, nil
	}
	b, err := hex.DecodeString(h)
	if err != nil {
		return "", &hinted{fmt.Errorf("key %s: not a whole number of bytes in hex", s), "a key that itself begins with 0x is given in hex, too: 0x3078.."}
	}
	return string(b), nil
}

// keyFlag is a key, or a prefix, that may not be given.
type keyFlag struct{ key *string }

func (f *keyFlag) String() string { return "" }

func (f *keyFlag) Set(s string) error {
	k, err := parseKey(s)
	f.key = &k
	return err
}

func (*keyFlag) Type() string { return "key|0xHEX" }

// keysFlag is any number of keys, or prefixes.
type keysFlag struct{ keys []diff.Key }

func (f *keysFlag) String() string { return "" }

func (f *keysFlag) Set(s string) error {
	k, err := parseKey(s)
	f.keys = append(f.keys, diff.Key(k))
	return err
}

func (*keysFlag) Type() string { return "key|0xHEX" }

// idFlag is an id in hex that may not be given.
type idFlag struct{ id *diff.ID }

func (f *idFlag) String() string { return "" }

func (f *idFlag) Set(s string) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	if err != nil || n == 0 {
		return errors.New("an id is up to 16 hex digits, and not 0")
	}
	id := diff.ID(n)
	f.id = &id
	return nil
}

func (*idFlag) Type() string { return "hex" }

// pointFlag is a place in the log.
type pointFlag struct{ diff.Point }

func (f *pointFlag) String() string { return "" }

func (f *pointFlag) Set(s string) error {
	kind, number, ok := strings.Cut(s, ":")
	if !ok {
		kind, number = "entry", s
	}
	if n, err := strconv.ParseUint(number, 10, 63); err == nil && n > 0 && (kind == "entry" || kind == "rev") {
		f.Point = diff.Point{Entry: n}
		if kind == "rev" {
			f.Point = diff.Point{Revision: int64(n)}
		}
		return nil
	}
	if t, ok := parseTime(s); ok {
		f.Point = diff.Point{Time: t}
		return nil
	}
	return errors.New("neither an entry (1576, entry:1576), nor a revision (rev:1244), nor a time (2026-11-21T08:23:25Z, or without a zone in UTC)")
}

func (*pointFlag) Type() string { return "place" }

// parseTime reads a time, which is UTC unless it has a zone.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, strings.TrimSuffix(s, " UTC")); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// timeFlag is a time.
type timeFlag struct{ time.Time }

func (f *timeFlag) String() string { return "" }

func (f *timeFlag) Set(s string) (err error) {
	var ok bool
	if f.Time, ok = parseTime(s); !ok {
		return errors.New("no time (2026-11-21T08:23:25Z, or without a zone in UTC)")
	}
	return nil
}

func (*timeFlag) Type() string { return "time" }

// sizeFlag is a number of bytes.
type sizeFlag struct{ bytes int }

func (f *sizeFlag) String() string { return "" }

func (f *sizeFlag) Set(s string) error {
	digits, unit := strings.TrimRight(strings.ToLower(s), "kmib"), 1
	switch strings.ToLower(s[len(digits):]) {
	case "":
	case "k", "kb", "kib":
		unit = 1 << 10
	case "m", "mb", "mib":
		unit = 1 << 20
	default:
		digits = ""
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return errors.New("a number of bytes is such as 512, 64k or 1M")
	}
	f.bytes = int(n) * unit
	return nil
}

func (*sizeFlag) Type() string { return "bytes" }

// one is the only member that a command for one member was given.
func one(ms []*inspect.Member) (*inspect.Member, error) {
	if len(ms) == 1 {
		return ms[0], nil
	}
	var names []string
	for _, m := range ms {
		names = append(names, m.Origin)
	}
	return nil, &hinted{fmt.Errorf("this command takes one member, and there are %d", len(ms)), "name one of them: " + strings.Join(names, " ")}
}

// oneCluster refuses members of several clusters.
func oneCluster(ms []*inspect.Member) error {
	if why := diff.Clusters(ms); why != "" {
		return &hinted{errors.New(why), "name the members of one cluster only"}
	}
	return nil
}

// partly sets the exit status of a command that lists what it reads.
func (a *app) partly(ms []*inspect.Member) {
	for _, m := range ms {
		if ok, _ := m.Complete(); !ok || m.DB == nil {
			a.status = exitPartial
		}
	}
}

// listed is the exit status of commands that list, in their help.
const listed = `Exit status:
  0  everything was read
  2  could not run: wrong usage, or nothing that can be read
  3  parts of a member could not be read, or it has no db; the rest is shown`

// keysHelp says how keys are given.
const keysHelp = `A key with bytes that cannot be printed is given in hex, as 0x00ff.`

// noteInterrupted makes the error of a command that was asked to end the same for all.
func noteInterrupted(cmd *cobra.Command, err error) error {
	if i := interrupted(cmd); i != nil {
		return i
	}
	return err
}
