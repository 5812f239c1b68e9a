// Package attach makes of an investigation what can be attached to a public issue: one Report, rendered as Markdown, as
// HTML and as JSON. What is secret is taken out of the Report before anything is rendered, so that no renderer can leak
// it.
package attach

import (
	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/report"
)

// Report is everything there is to tell. Its JSON is report.json; Schema describes it.
type Report struct {
	SchemaVersion string `json:"schema_version"`
	Tool          Tool   `json:"tool"`
	// Redacted is true if keys and names were replaced by tokens, ShowsValues if values are shown: such a report is private.
	Redacted    bool `json:"redacted"`
	ShowsValues bool `json:"shows_values"`
	// Files are the inputs, as manifest.txt lists them.
	Files []File `json:"files"`
	// Diff is the comparison, with explanations and the plan.
	Diff *diff.Document `json:"diff"`
	// Story is what happened, as the raft log and the logs of servers tell it together. It is left out if there was no log of a server.
	Story *story.Document `json:"story,omitempty"`
	// Inspection and Checkup are what the members' files hold, and what is wrong with them.
	Inspection *report.Inspection `json:"inspection"`
	Checkup    *report.Checkup    `json:"checkup"`
	// Witness is the shortest argument that the first divergence is real, one sentence each.
	Witness []string `json:"witness"`
	// Verify says how each claim can be checked by hand with public tools.
	Verify []Verification `json:"verify"`
	// Prefixes and Resources group the keys that differ, the largest group first. Resources are of Kubernetes:
	// /registry/<resource>/<namespace>/<name>.
	Prefixes  []Group `json:"differing_by_prefix"`
	Resources []Group `json:"differing_by_resource"`
	// Composition says what the bytes of each db are.
	Composition []Composition `json:"composition"`
	// Curves are the main revision over the log index of each member, thinned out.
	Curves []Curve `json:"curves"`
	// Values are those of keys that differ, only if they were asked for.
	Values []Value `json:"values,omitempty"`
}

// Tool is what made the report.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Etcd    string `json:"etcd"` // the version of etcd's code in it
	Command string `json:"command"`
}

// File is an input file.
type File struct {
	Path   string `json:"path"` // as sha256sum finds it from where the report was made
	Member string `json:"member"`
	Size   int64  `json:"size"` // in bytes
	SHA256 string `json:"sha256"`
}

// Verification is a claim with the commands that check it.
type Verification struct {
	Claim    string   `json:"claim"`
	Commands []string `json:"commands"`
}

// Group counts keys that differ.
type Group struct {
	Name    diff.Key `json:"name"`
	Keys    int      `json:"keys"`
	Missing int      `json:"missing"`
	Value   int      `json:"value"`
	Lease   int      `json:"lease"`
	// Example is the first key.
	Example diff.Key `json:"example"`
}

// Composition is what the bytes of a db file are.
type Composition struct {
	Member string `json:"member"`
	// Live are rows of live keys, History older revisions and tombstones, Other everything else in use: branch pages,
	// small tables, page headers and gaps. Free are pages that hold nothing.
	Live    int64 `json:"live_bytes"`
	History int64 `json:"history_bytes"`
	Other   int64 `json:"other_bytes"`
	Free    int64 `json:"free_bytes"`
	Total   int64 `json:"total_bytes"`
}

// Curve is a member's main revision over the log index.
type Curve struct {
	Member string          `json:"member"`
	Points []diff.Position `json:"points"` // ascending
}

// Value is what members hold under a key.
type Value struct {
	Key      diff.Key          `json:"key"`
	ByMember map[string]string `json:"by_member"` // as text if it is, else in base64 with the prefix "base64:"
}
