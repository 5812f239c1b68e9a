package raftlog

import "testing"

func TestRange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ key, end, want string }{
		{"/a", "", "/a"},
		{"/a/", "/a0", "prefix /a/"},
		{"/a", "/c", "/a../c"},
		{"/a", "\x00", "all keys from /a on"},
		{"", "\x00", "all keys"},
		{"\x00", "\x00", "all keys"},
		{"a\xff", "b", "0x61ff..b"},
	} {
		w := Write{Key: []byte(test.key), End: []byte(test.end)}
		if got := w.Range(); got != test.want {
			t.Errorf("%q to %q: %s, want %s", test.key, test.end, got, test.want)
		}
	}
}
