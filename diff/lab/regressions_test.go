package lab

// regressions are seeds that once failed, and what they caught.
var regressions = []struct {
	seed   uint64
	caught string
}{}
