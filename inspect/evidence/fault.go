package evidence

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
)

// ErrShrank is the cause of errors about files that were truncated while they were read.
var ErrShrank = errors.New("file shrank while it was read")

// Guard runs fn and turns a fault on memory that is not there any more, as when a mapped file shrinks, into an error
// "name: file shrank while it was read". Any other panic goes on. It guards the calling goroutine only.
func Guard(name string, fn func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		switch p := recover().(type) {
		case nil:
		case fault:
			err = fmt.Errorf("%s: %w", name, ErrShrank)
		default:
			panic(p)
		}
	}()
	return fn()
}

// fault is what the runtime panics with on a bad address. A nil dereference has no address: that is a bug, not a fault.
type fault interface {
	runtime.Error
	Addr() uintptr
}
