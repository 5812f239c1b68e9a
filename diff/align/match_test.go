package align

import "testing"

func TestAlike(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"value 1", "value 1", true},
		{"value 1", "value 1!", true},
		{"value 1", "vblue 1", true},
		{"x", "y", true}, // one bit
		{"x", "q", false},
		{"x", "", false},
		{"aaaa", "aa", true},
		{"value 7", "extra 9107", false},
	} {
		if got := alike([]byte(c.a), []byte(c.b)); got != c.want {
			t.Errorf("alike(%q, %q) = %v", c.a, c.b, got)
		}
		if alike([]byte(c.a), []byte(c.b)) != alike([]byte(c.b), []byte(c.a)) {
			t.Errorf("alike(%q, %q) depends on the order", c.a, c.b)
		}
	}
}
