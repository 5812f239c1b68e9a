package story

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Near is how many events are told before and after what was asked for.
const Near = 12

// layouts of times that may be asked for. One without a day is of the day on which the story begins.
var layouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04", "2006-01-02"}

// clock is the layout of a time without a day.
var clock = []string{"15:04:05.999999999", "15:04"}

// Around leaves the events next to an entry of the raft log, given by its index, or to a time, which is UTC unless it has a zone.
func (d *Document) Around(where string) error {
	i, err := d.find(strings.TrimSpace(where))
	if err != nil {
		return err
	}
	from, to := max(0, i-Near), min(len(d.Events), i+Near+1)
	d.LeftOut += len(d.Events) - (to - from)
	d.Events = slices.Clone(d.Events[from:to])
	return nil
}

// find returns the first event that is not before what was asked for.
func (d *Document) find(where string) (int, error) {
	if entry, err := strconv.ParseUint(where, 10, 64); err == nil {
		i := slices.IndexFunc(d.Events, func(e Event) bool { return e.Entry >= entry && e.Source != FromServer })
		if i < 0 {
			i = len(d.Events)
		}
		return i, nil
	}
	at, err := d.parse(where)
	if err != nil {
		return 0, err
	}
	if i := slices.IndexFunc(d.Events, func(e Event) bool { return e.Time != nil && !e.Time.Before(at) }); i >= 0 {
		return i, nil
	}
	return len(d.Events), nil
}

func (d *Document) parse(where string) (time.Time, error) {
	for _, l := range layouts {
		if t, err := time.Parse(l, where); err == nil {
			return t, nil
		}
	}
	for _, l := range clock {
		t, err := time.Parse(l, where)
		if err != nil {
			continue
		}
		for _, e := range d.Events {
			if e.Time != nil {
				day := e.Time.UTC().Truncate(24 * time.Hour)
				return day.Add(t.Sub(t.Truncate(24 * time.Hour))), nil
			}
		}
		return time.Time{}, fmt.Errorf("no event has a time, so %s is of no day", where)
	}
	return time.Time{}, fmt.Errorf("%q is neither the index of an entry nor a time such as 2006-01-02T15:04:05Z", where)
}
