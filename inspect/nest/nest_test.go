package nest

import (
	"strings"
	"testing"
)

func TestDeeper(t *testing.T) {
	for _, c := range []struct {
		json string
		want bool
	}{
		{``, false},
		{`{"a":[{"b":1}]}`, false},
		{`{"a":[{"b":[]}]}`, true},
		{`[[[]],[[]]]`, false},
		{`{"a":"[[[[[[{{{{"}`, false},
		{`{"a":"\"[[[[\\","b":[[]]}`, false},
		{`{"a":"\"","b":[[[]]]}`, true},
		{strings.Repeat("[", 1<<20), true},
		{"\"" + strings.Repeat("[", 1<<20), false},
	} {
		if got := Deeper([]byte(c.json), 3); got != c.want {
			t.Errorf("%.40s: %v", c.json, got)
		}
	}
}
