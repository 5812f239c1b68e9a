package evidence

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// ErrShrank is the cause of errors about files that were truncated while they were read.
var ErrShrank = errors.New("file shrank while it was read")

// Guard runs fn and turns a fault on memory that is not there any more, as when a mapped file shrinks, into an error
// "name: file shrank while it was read". What Stop ends returns the error of its context. Any other panic goes on. It guards
// the calling goroutine only.
func Guard(name string, fn func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		switch p := recover().(type) {
		case nil:
		case fault:
			err = fmt.Errorf("%s: %w", name, ErrShrank)
		case ended:
			err = p.error
		default:
			panic(p)
		}
	}()
	return fn()
}

// Group runs functions at the same time, each guarded.
type Group struct {
	wg    sync.WaitGroup
	mu    sync.Mutex
	first any // what the first of them that failed panicked with
}

// Go runs fn in a goroutine of its own.
func (g *Group) Go(name string, fn func()) {
	g.wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				g.fail(p)
			}
		}()
		if err := Guard(name, func() error { fn(); return nil }); err != nil {
			g.fail(ended{err})
		}
	})
}

func (g *Group) fail(p any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first == nil {
		g.first = p
	}
}

// Wait waits for all of them. If one of them met a fault or was stopped, Wait panics, and the Guard around it returns
// its error. Any other panic goes on, too.
func (g *Group) Wait() {
	if g.wg.Wait(); g.first != nil {
		panic(g.first)
	}
}

// Stop ends what the Guard around it runs if ctx is done: the error is that of ctx then. It is for loops over much evidence.
func Stop(ctx context.Context) {
	if err := ctx.Err(); err != nil {
		panic(ended{err})
	}
}

// ended carries the error that ends a Guard to it, also from one goroutine to another.
type ended struct{ error }

// fault is what the runtime panics with on a bad address. A nil dereference has no address: that is a bug, not a fault.
type fault interface {
	runtime.Error
	Addr() uintptr
}
