package escape

import (
	"bytes"
	"encoding/json"
	"testing"
)

// TestIndent asserts that texts are indented as encoding/json does it.
func TestIndent(t *testing.T) {
	t.Parallel()
	for _, x := range []any{
		nil, 1.5, "", `"`, `\`, `{"a":[1,2],"b":{}}\`,
		[]int{},
		[]any{[]int{}, map[string]int{}, nil, true},
		map[string]any{},
		map[string]any{`a"{[,:]}\`: []any{map[string]any{"x": []int{1, 2}}, "]"}, "b": json.RawMessage(`{}`)},
	} {
		compact, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ prefix, indent string }{{"", "  "}, {"", " "}, {"   ", " "}} {
			var want bytes.Buffer
			if err := json.Indent(&want, compact, c.prefix, c.indent); err != nil {
				t.Fatal(err)
			}
			if got := indented(compact, c.prefix, c.indent); string(got) != want.String() {
				t.Errorf("%s: %q, want %q", compact, got, want.String())
			}
		}
	}
}
