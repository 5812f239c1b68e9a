package recovery

import (
	"context"
	"fmt"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/inspect/schema"
)

// Releases are those that a file can be written for.
var Releases = []string{"3.2", "3.3", "3.4", "3.5", "3.6", "3.7"}

// aimed is a source as another release than that of the copy would have written it: what came later is left out, and the versions are not
// above it (server/storage/schema/schema.go and migration.go, etcd 3.7: term and confState came with 3.5, storageVersion with 3.6).
type aimed struct {
	source
	release semver.Version
}

// aim returns a source for a release, which is one of Releases.
func aim(src source, release string) (source, error) {
	v, err := semver.NewVersion(release + ".0")
	if err != nil {
		return nil, fmt.Errorf("%q is no release: %w", release, err)
	}
	src.document().note("written for etcd %s", release)
	return &aimed{src, *v}, nil
}

func (a *aimed) rows(ctx context.Context, put func(bucket string, key, value []byte) error) error {
	return a.source.rows(ctx, func(bucket string, key, value []byte) error {
		if value, ok := a.row(bucket, string(key), value); ok {
			return put(bucket, key, value)
		}
		return nil
	})
}

// row is a row as the release has it; ok is false if it has none.
func (a *aimed) row(bucket, key string, value []byte) (_ []byte, ok bool) {
	before := func(minor int64) bool { return a.release.LessThan(semver.Version{Major: 3, Minor: minor}) }
	switch {
	case bucket == schema.Meta && key == "storageVersion":
		return a.lower(value), !before(6)
	case bucket == schema.Meta && (key == "term" || key == "confState"), bucket == schema.Cluster && key == "downgrade":
		return value, !before(5)
	case bucket == schema.Cluster && key == "clusterVersion":
		return a.lower(value), !before(5)
	}
	return value, true
}

// lower is a version, but none above the release: a server refuses to start on a later one.
func (a *aimed) lower(version []byte) []byte {
	if v, err := semver.NewVersion(string(version)); err != nil || a.release.LessThan(*v) {
		return []byte(a.release.String())
	}
	return version
}
