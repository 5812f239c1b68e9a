package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"etcd-autopsy/report/escape"
)

// patience is how long work may take before a bar is shown.
const patience = 700 * time.Millisecond

// progress shows a bar for each piece of long work, on a terminal only.
type progress struct {
	out   io.Writer
	start time.Time

	mu   sync.Mutex
	all  *mpb.Progress // nil until something takes long
	bars map[string]*mpb.Bar
}

// guarded is standard error behind a filter. Bars, which move the cursor, go around it.
type guarded struct {
	*escape.Filter
	to io.Writer
}

// newProgress writes to out if that is a terminal.
func newProgress(out io.Writer) *progress {
	p := &progress{start: time.Now(), bars: map[string]*mpb.Bar{}}
	if g, ok := out.(*guarded); ok {
		out = g.to
	}
	if f, ok := out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		p.out = out
	}
	return p
}

// update says how far a piece of work has come. It may be called from several goroutines.
func (p *progress) update(what string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil || total <= 0 || p.all == nil && time.Since(p.start) < patience {
		return
	}
	if p.all == nil {
		p.all = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40))
	}
	bar := p.bars[what]
	if bar == nil {
		bar = p.all.AddBar(int64(total), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(escape.Visible(what), decor.WCSyncSpaceR)), mpb.AppendDecorators(decor.Percentage()))
		p.bars[what] = bar
	}
	bar.SetTotal(int64(total), false)
	bar.SetCurrent(int64(done))
	if done >= total {
		bar.Abort(true)
		delete(p.bars, what)
	}
}

// end takes the bars away, so that what is printed next stands alone.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		return
	}
	for _, b := range p.bars {
		b.Abort(true)
	}
	p.all.Wait()
	p.all, p.out = nil, nil
}
