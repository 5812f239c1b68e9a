package apply

import (
	"fmt"
	"math"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/authz"
)

// Rules are those of some versions of etcd: a set of the kinds of versions that judge requests differently, which all do the same with the log at hand.
// None is as the newest.
type Rules uint8

// Kinds of versions whose rules differ in what they do to keys, all of it about who may do it (etcdserver/apply_auth.go, read in 3.2.24, 3.3.10,
// 3.4.26 to 3.4.44, 3.5.9 to 3.5.33, 3.6.8 to 3.6.14).
const (
	// Rules3530 are those of 3.5.30, 3.4.44, 3.6.11 and later.
	Rules3530 Rules = 1 << iota
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
	Rules3510 = Rules3530 | Rules3528 | Rules3512
)

// Oldest and Newest are the minor versions between which rules change.
const Oldest, Newest = 2, 7

var rules = map[Rules]string{
	Rules3530:             "3.5.30 (or 3.4.44, 3.6.11) and later",
	Rules3528:             "3.5.28 and 3.5.29 (or 3.4.42 and 3.4.43, 3.6.9 and 3.6.10)",
	Rules3512:             "3.5.10 to 3.5.27 (or 3.4.27 to 3.4.41, 3.6.0 to 3.6.8)",
	Rules3530 | Rules3528: "3.5.28 (or 3.4.42, 3.6.9) and later",
	Rules3528 | Rules3512: "3.5.10 to 3.5.29 (or 3.4.27 to 3.4.43, 3.6.0 to 3.6.10)",
	Rules3510:             "3.5.10 (or 3.4.27) and later",
	Rules33:               "3.3 to 3.5.9",
	Rules32:               "3.2",
}

func (r Rules) String() string { return rules[r] }

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
	case r&^Rules3510 != 0 || r == Rules3510 || first < 0:
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
		TxnPutsByKey: r != 0 && r&Rules3530 == 0, NestedUnasked: r != 0 && r&(Rules3530|Rules3528) == 0,
		RootAsked: r == Rules33, LeasesUnasked: r == Rules32,
	}
}

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
func (l *Log) classes() []Rules {
	switch {
	case !l.txnPuts && !l.nested:
		return []Rules{Rules3510, Rules33, Rules32}
	case !l.txnPuts:
		return []Rules{Rules3530 | Rules3528, Rules3512, Rules33, Rules32}
	case !l.nested:
		return []Rules{Rules3530, Rules3528 | Rules3512, Rules33, Rules32}
	}
	return []Rules{Rules3530, Rules3528, Rules3512, Rules33, Rules32}
}

// Upgrades are the rules that an upgrade may lead to, one minor version at a time.
func (l *Log) Upgrades(from Rules) (to []Rules) {
	if from == Rules32 {
		return []Rules{Rules33}
	}
	for _, class := range l.classes() {
		if class < from {
			to = append(to, class)
		}
	}
	return to
}
