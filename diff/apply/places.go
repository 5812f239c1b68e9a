package apply

import (
	"cmp"
	"slices"
)

// Places tells which entries of a log may put what. Places are those in [Log.Entries], in order.
type Places struct {
	touchers lists        // of each key
	puts     []occurrence // in order of keys, then values, then places
	putters  []int32      // the places of puts
	first    []int32      // of each key, the first of its puts; one more for the end
	keepers  map[int32][]int32
	// Before each place, how many revisions the entries up to there make at least and at most, whatever the state, if nothing refuses them.
	Least, Most []int32
	Refusing    []int32 // before each place, how many entries may turn auth or an alarm on
	Turning     []int32 // and how many may turn these on or off, or revoke a lease
}

type occurrence struct {
	value Value
	place int32
	key   int32
}

// lists are lists of places, one for each key, one behind the other.
type lists struct {
	first  []int32
	places []int32
}

func (l *lists) of(key int32) []int32 { return l.places[l.first[key]:l.first[key+1]] }

// Places are those of the log, found once.
func (l *Log) Places() *Places { return l.places() }

// PutsOfKey are the entries that may put a key.
func (p *Places) PutsOfKey(key int32) []int32 { return p.touchers.of(key) }

// PutsKeepingValue are those that may put the value again that the key had.
func (p *Places) PutsKeepingValue(key int32) []int32 { return p.keepers[key] }

// PutsOfValue are those that may put a value to a key.
func (p *Places) PutsOfValue(key int32, v Value) []int32 {
	lo, hi := p.first[key], p.first[key+1]
	if hi-lo == 1 { // the rule, where there are many keys
		if p.puts[lo].value != v {
			return nil
		}
		return p.putters[lo:hi]
	}
	puts := p.puts[lo:hi]
	from, _ := slices.BinarySearchFunc(puts, v, func(o occurrence, v Value) int { return cmp.Compare(o.value, v) })
	to := from
	for to < len(puts) && puts[to].value == v {
		to++
	}
	return p.putters[int(lo)+from : int(lo)+to]
}

func (l *Log) findPlaces() *Places {
	p := &Places{keepers: map[int32][]int32{}}
	n := len(l.Entries) + 1
	p.Least, p.Most, p.Refusing, p.Turning = make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n)
	var touched []occurrence
	for i := range l.Entries {
		e := &l.Entries[i]
		least, most := e.Range()
		p.Least[i+1], p.Most[i+1] = p.Least[i]+int32(least), p.Most[i]+int32(most)
		refusing := int32(number(e.Kind == Auth || e.Kind == Alarm))
		p.Refusing[i+1] = p.Refusing[i] + refusing
		p.Turning[i+1] = p.Turning[i] + max(refusing, int32(number(e.Kind == Revoke)))
		e.Puts(func(key int32, v Value, keeps bool) {
			touched = append(touched, occurrence{key: key, place: int32(i)})
			if !keeps {
				p.puts = append(p.puts, occurrence{value: v, key: key, place: int32(i)})
			} else if at := p.keepers[key]; len(at) == 0 || at[len(at)-1] != int32(i) {
				p.keepers[key] = append(at, int32(i))
			}
		})
	}
	touched, p.touchers.first = byKey(touched, len(l.Keys))
	p.touchers.places = placesOf(touched)
	var first []int32
	p.puts, first = byKey(p.puts, len(l.Keys))
	for key := range l.Keys {
		slices.SortFunc(p.puts[first[key]:first[key+1]], func(a, b occurrence) int {
			return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.place, b.place))
		})
	}
	p.puts = slices.Compact(p.puts)
	p.first, p.putters = firstOf(p.puts, len(l.Keys)), placesOf(p.puts)
	return p
}

// byKey orders occurrences by keys, and otherwise as they are, each once if they are the same. first is the first of each key.
func byKey(all []occurrence, keys int) (ordered []occurrence, first []int32) {
	at := make([]int32, keys+1)
	for i := range all {
		at[all[i].key+1]++
	}
	for k := range keys {
		at[k+1] += at[k]
	}
	ordered = make([]occurrence, len(all))
	for i := range all {
		k := all[i].key
		ordered[at[k]] = all[i]
		at[k]++
	}
	ordered = slices.Compact(ordered)
	return ordered, firstOf(ordered, keys)
}

func firstOf(ordered []occurrence, keys int) []int32 {
	first := make([]int32, keys+1)
	n := 0
	for k := range first {
		for n < len(ordered) && int(ordered[n].key) < k {
			n++
		}
		first[k] = int32(n)
	}
	return first
}

func placesOf(all []occurrence) []int32 {
	places := make([]int32, len(all))
	for i := range all {
		places[i] = all[i].place
	}
	return places
}
