package diff

import (
	"encoding/json"
	"testing"
)

// TestKeyDiffJSON asserts that a differing key is written as encoding/json would write its fields.
func TestKeyDiffJSON(t *testing.T) {
	t.Parallel()
	state := KeyState{Present: true, ModRevision: 7, CreateRevision: -1, Version: 3, Lease: 0xabc, ValueSize: 12, ValueSHA256: "00ff"}
	for _, d := range []KeyDiff{
		{},
		{Key: "/registry/pods/a", Difference: "value", ByMember: map[string]KeyState{"b": state, "a": {}, "c-10": {Present: true}}},
		{Key: "<&>\"\\/ü\u2028", Difference: "missing", ByMember: map[string]KeyState{"ü <\"\\\x01\xff": state}},
		{Key: "\x00\xff", Difference: "lease", ByMember: map[string]KeyState{}},
	} {
		text, b64 := d.Key.named()
		want, err := json.Marshal(struct {
			Key        string              `json:"key,omitempty"`
			B64        string              `json:"key_base64,omitempty"`
			Difference string              `json:"difference"`
			ByMember   map[string]KeyState `json:"by_member"`
		}{text, b64, d.Difference, d.ByMember})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(d); err != nil || string(got) != string(want) {
			t.Errorf("%v: %s\nwant %s", err, got, want)
		}
	}
}
