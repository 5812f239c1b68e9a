package apply

import (
	"fmt"
	"math"
	"math/bits"
	"sort"
	"strings"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/authz"
)

// Rules are those of some versions of etcd: a set of the kinds of versions that judge requests differently, which all do the same with the log at hand.
// None is as the newest.
type Rules uint8

// Kinds of versions whose rules differ in what they do to keys, all of it about who may do it and what a transaction may read
// (etcdserver/apply_auth.go, and applyEntryNormal in etcdserver/server.go, read in 3.2.24, 3.3.10, 3.4.26 to 3.4.44, 3.5.9 to 3.5.33, 3.6.8 to 3.6.14, 3.7.3).
const (
	// Rules37 are those of 3.7 and later.
	Rules37 Rules = 1 << iota
	// Rules3530 are those of 3.5.30, 3.4.44, 3.6.11 up to 3.6: a member drops the outermost reads of a transaction that it did not propose, and so the reasons
	// that these are to refuse it.
	Rules3530
	// Rules3528 are those of 3.5.28, 3.4.42, 3.6.9 and the one after it: a put in a transaction is asked for its key alone, not for the previous
	// value or its lease.
	Rules3528
	// Rules3512 are those of 3.5.10, 3.4.27, 3.6.0 up to then: operations in a nested transaction are not asked for at all.
	Rules3512
	// Rules33 are those of 3.3 up to then: an administrator must have proposed the request at the present auth revision, too, if the
	// lease has keys.
	Rules33
	// Rules32 are those of 3.2, which asks nobody for the keys of a lease.
	Rules32

	// Rules3510 are those of 3.5.10, 3.4.27 and later, for logs that do not tell them apart: who revokes a lease, or attaches a key to it, must be
	// allowed to write all its keys; an administrator is.
	Rules3510 = Rules37 | Rules3530 | Rules3528 | Rules3512
)

// Oldest and Newest are the minor versions between which rules change.
const Oldest, Newest = 2, 7

// kinds are the first and the last version of each kind, the newest kind first: in 3.5, or in all, and then, where that is not all, in 3.4 and in 3.6.
var kinds = [...]struct{ from, to [3]string }{
	{from: [3]string{"3.7"}},
	{from: [3]string{"3.5.30", "3.4.44", "3.6.11"}, to: [3]string{"3.6"}},
	{from: [3]string{"3.5.28", "3.4.42", "3.6.9"}, to: [3]string{"3.5.29", "3.4.43", "3.6.10"}},
	{from: [3]string{"3.5.10", "3.4.27", "3.6.0"}, to: [3]string{"3.5.27", "3.4.41", "3.6.8"}},
	{from: [3]string{"3.3"}, to: [3]string{"3.5.9"}},
	{from: [3]string{"3.2"}, to: [3]string{"3.2"}},
}

// String tells the versions, from the oldest to the newest one.
func (r Rules) String() string {
	if r == 0 {
		return ""
	}
	from, to := kinds[bits.Len8(uint8(r))-1].from, kinds[bits.TrailingZeros8(uint8(r))].to
	if from[1] != "" && to[1] != "" {
		return fmt.Sprintf("%s to %s (or %s to %s, %s to %s)", from[0], to[0], from[1], to[1], from[2], to[2])
	}
	first := from[0]
	switch {
	case from[1] != "" && strings.HasSuffix(from[2], ".0"):
		first += fmt.Sprintf(" (or %s)", from[1])
	case from[1] != "":
		first += fmt.Sprintf(" (or %s, %s)", from[1], from[2])
	}
	switch to[0] {
	case "":
		return first + " and later"
	case from[0]:
		return first
	}
	return first + " to " + to[0]
}

// Of is String in short, of the patches of one minor version alone where only some of these have the rules.
func (r Rules) Of(minor int64) string {
	const patches = 100 // more than any minor version has
	var first, last int64 = -1, -1
	for p := range int64(patches) {
		if r&rulesOf(semver.Version{Major: 3, Minor: minor, Patch: p}) != 0 {
			if first < 0 {
				first = p
			}
			last = p
		}
	}
	switch {
	case r&^Rules3510 != 0 || first <= 0 && (first < 0 || last == patches-1) || r == Rules3510:
		return r.String()
	case last == patches-1:
		return fmt.Sprintf("3.%d.%d and later", minor, first)
	}
	return fmt.Sprintf("3.%d.%d to 3.%d.%d", minor, first, minor, last)
}

// rulesOf are those of a version of etcd, none of versions that are not known.
func rulesOf(v semver.Version) Rules {
	patch := func(of4, of5, of6 int64) bool {
		return v.Minor > 6 || v.Minor == 6 && v.Patch >= of6 || v.Minor == 5 && v.Patch >= of5 || v.Minor == 4 && v.Patch >= of4
	}
	switch {
	case v.Major != 3 || v.Minor < 2:
		return 0
	case v.Minor == 2:
		return Rules32
	case v.Minor > 6:
		return Rules37
	case patch(44, 30, 11):
		return Rules3530
	case patch(42, 28, 9):
		return Rules3528
	case patch(27, 10, 0):
		return Rules3512
	}
	return Rules33
}

// Covers tells whether a version of etcd has these rules.
func (r Rules) Covers(v semver.Version) bool { return r&rulesOf(v) != 0 }

// Permissions are what the rules ask for.
func (r Rules) Permissions() authz.Rules {
	return authz.Rules{
		ReadsDropped: r.dropReads(), TxnPutsByKey: r != 0 && r&(Rules37|Rules3530) == 0, NestedUnasked: r != 0 && r&(Rules37|Rules3530|Rules3528) == 0,
		RootAsked: r == Rules33, LeasesUnasked: r == Rules32,
	}
}

// dropReads tells whether members drop the outermost reads of transactions that they did not propose.
func (r Rules) dropReads() bool { return r != 0 && r&Rules37 == 0 }

// Versions are the rules of a range of minor versions of etcd, the newest first; those that do the same with all entries of the log are one.
func (l *Log) Versions(oldest, newest int64) (out []Rules) {
	of := func(minor, patch int64) Rules { return rulesOf(semver.Version{Major: 3, Minor: minor, Patch: patch}) }
	last := int64(math.MaxInt64)
	within := Rules(0)
	for r := of(newest, last); r <= of(oldest, 0); r <<= 1 {
		within |= r
	}
	for _, class := range l.classes() {
		if within&class != 0 {
			out = append(out, class)
		}
	}
	return out
}

// classes are all rules that do different things with the log, the newest first.
func (l *Log) classes() (all []Rules) {
	apart := [...]bool{l.reads, l.asks && l.txnPuts, l.asks && l.nested, l.asks, l.asks}
	var class Rules
	for n := range kinds {
		class |= Rules37 << n
		if n == len(apart) || apart[n] {
			all = append(all, class)
			class = 0
		}
	}
	return all
}

// AtLeast are the rules by which a member goes at an entry that went by some before: older ones than the version that the cluster has then it does not go by,
// since that is set once all members run it. A downgrade sets a lower one.
func (l *Log) AtLeast(index uint64, rules Rules) Rules {
	n := sort.Search(len(l.versions), func(n int) bool { return l.versions[n].index >= index })
	if n == 0 || rules == 0 {
		return rules
	}
	least := l.versions[n-1].least
	if orNewer := Rules(1)<<bits.Len8(uint8(least)) - 1; least != 0 && rules&orNewer == 0 {
		return least
	}
	return rules
}

// oldest are the rules of the first release of a minor version, as far as the log tells them apart.
func (l *Log) oldest(minor int64) Rules {
	of := rulesOf(semver.Version{Major: 3, Minor: minor})
	for _, class := range l.classes() {
		if class&of != 0 {
			return class
		}
	}
	return 0
}

// VersionsSet are the entries that set the cluster's version.
func (l *Log) VersionsSet() (entries []uint64) {
	for _, v := range l.versions {
		entries = append(entries, v.index)
	}
	return entries
}

// Upgrades are the rules that an upgrade may lead to, one minor version at a time, up to the newest one of a minor version.
func (l *Log) Upgrades(from Rules, newest int64) (to []Rules) {
	if from == Rules32 {
		return []Rules{Rules33}
	}
	upTo := rulesOf(semver.Version{Major: 3, Minor: newest, Patch: math.MaxInt64}) // and all bits above
	for _, class := range l.classes() {
		if class < from && class >= upTo {
			to = append(to, class)
		}
	}
	return to
}
