package values

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"etcd-autopsy/inspect/kube"
)

// Field is a field of an object that differs. Members that do not have it are not in ByMember.
type Field struct {
	Path     string         `json:"path"`
	ByMember map[string]any `json:"by_member"`
}

// absence is the type of missing, which stands for a field that is not there.
type absence struct{}

var missing any = absence{}

const managed = "metadata.managedFields"

// plain names need no quotes in a path.
var plain = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// fieldDiff calls f for each field in which some of vs, which may be missing, differ, in the order of paths.
func fieldDiff(path string, vs []any, f func(path string, vs []any)) {
	if !slices.ContainsFunc(vs[1:], func(v any) bool { return !equal(v, vs[0]) }) {
		return
	}
	if path == managed {
		f(path, vs) // who set which field: of no use field by field
		return
	}
	if maps, ok := allOf[map[string]any](vs); ok {
		for _, name := range names(maps) {
			next := name
			if !plain.MatchString(name) {
				next = "[" + strconv.Quote(name) + "]"
			} else if path != "" {
				next = "." + name
			}
			fieldDiff(path+next, pick(maps, name), f)
		}
		return
	}
	if lists, ok := allOf[[]any](vs); ok {
		by := ""
		for _, id := range []string{"name", "type", "uid", "key", "ip", "port"} {
			if identified(lists, id) {
				by = id
				break
			}
		}
		items := make([]map[string]any, len(lists))
		for i, l := range lists {
			if l == nil {
				continue
			}
			items[i] = map[string]any{}
			for n, x := range l {
				name := fmt.Sprintf("[%06d]", n)
				if by != "" {
					name = fmt.Sprintf("[%s=%v]", by, x.(map[string]any)[by])
				}
				items[i][name] = x
			}
		}
		found := false
		each := func(path string, vs []any) {
			found = true
			f(path, vs)
		}
		for _, name := range names(items) {
			shown := name
			if by == "" {
				n, _ := strconv.Atoi(name[1 : len(name)-1])
				shown = fmt.Sprintf("[%d]", n)
			}
			fieldDiff(path+shown, pick(items, name), each)
		}
		if found {
			return
		}
		// Only their order differs.
	}
	f(path, vs)
}

// equal is reflect.DeepEqual, but for numbers that are written in other ways.
func equal(a, b any) bool {
	x, ok := a.(json.Number)
	y, too := b.(json.Number)
	if ok && too && x != y {
		fx, errX := x.Float64()
		fy, errY := y.Float64()
		_, intX := strconv.ParseInt(x.String(), 10, 64)
		_, intY := strconv.ParseInt(y.String(), 10, 64)
		return errX == nil && errY == nil && fx == fy && (intX != nil || intY != nil)
	}
	if h, ok := a.(kube.Hidden); ok {
		return h == b
	}
	return reflect.DeepEqual(a, b)
}

// allOf converts all that are there to one type. At least two must be there: what only one has is shown as a whole.
func allOf[T any](vs []any) ([]T, bool) {
	out := make([]T, len(vs))
	n := 0
	for i, v := range vs {
		if v == missing {
			continue
		}
		x, ok := v.(T)
		if !ok {
			return nil, false
		}
		out[i] = x
		n++
	}
	return out, n > 1 && n == len(vs)
}

func names(ms []map[string]any) []string {
	all := map[string]bool{}
	for _, m := range ms {
		for k := range m {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func pick(ms []map[string]any, name string) []any {
	vs := make([]any, len(ms))
	for i, m := range ms {
		vs[i] = missing
		if v, ok := m[name]; ok {
			vs[i] = v
		}
	}
	return vs
}

// identified tells whether a field tells the elements of every list apart, as name does with containers.
func identified(lists [][]any, id string) bool {
	for _, l := range lists {
		seen := map[any]bool{}
		for _, x := range l {
			m, ok := x.(map[string]any)
			if !ok {
				return false
			}
			v := m[id]
			switch v.(type) {
			case string, json.Number:
			default:
				return false
			}
			if seen[v] {
				return false
			}
			seen[v] = true
		}
	}
	return true
}
