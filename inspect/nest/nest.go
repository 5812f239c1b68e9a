// Package nest bounds how deep encoded data is nested, before a decoder follows it: what is walked with one call in another
// needs stack for every level, and a stack that is exhausted ends the process.
package nest

// Limit is how many objects and arrays of JSON may lie in one another. What etcd writes into its tables, and Kubernetes into
// its objects, has some ten levels; a path of the v2 store has two for each of its parts.
const Limit = 1000

// Deeper tells whether objects and arrays lie more than limit levels deep in JSON. Text that is no JSON may be called deep.
func Deeper(json []byte, limit int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(json); i++ {
		switch c := json[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
