package apply

// Record is a key as its newest row tells. It is zero if the key does not exist.
//
// Of a key that was there before the log begins some of it may not be known, until a row tells. Then Version is OpenVersion and how often it was put
// since, below zero. Create is below zero if it is not known: minus the revision of the first put since, and the key may as well have been
// created by that one; -1 before there was one. Mod is ModAsCompared or ModNotCompared until then, and the value is UnknownValue.
type Record struct {
	Create, Mod, Version int64
	Value                Value
	Lease                int32
}

// What a record holds in the place of what is not known.
const (
	OpenVersion    = -1 << 40 // version
	ModAsCompared  = -1       // mod: what compares ask for
	ModNotCompared = -2       // mod: not what compares ask for
)

// UnknownValue is the value of a key of which nothing tells it.
const UnknownValue = ^Value(0)

// Exists tells whether there is a key.
func (r *Record) Exists() bool { return r.Mod != 0 }

// IsPartial tells whether not all of a record is known.
func (r *Record) IsPartial() bool {
	return r.Version < 0 || r.Create < 0 || r.Mod < 0 || r.Value == UnknownValue && r.Mod != 0
}

// Same tells whether two records are equal.
func (r *Record) Same(o *Record) bool {
	return r.Create == o.Create && r.Mod == o.Mod && r.Version == o.Version && r.Lease == o.Lease && r.Value == o.Value
}

// MayBeCreatedAt tells whether a key may have been created at a revision; base is the one before the log begins.
func (r *Record) MayBeCreatedAt(create, base int64) bool {
	return r.Create == create || r.Create < 0 && (create <= base || r.Create == -create)
}

// MayEqual tells whether a record, of which not all may be known, may be one that is; base is the revision before the log begins.
func (r *Record) MayEqual(o *Record, base int64) bool {
	if !r.IsPartial() {
		return r.Same(o)
	}
	switch {
	case r.Mod > 0 && r.Mod != o.Mod, r.Mod < 0 && o.Mod > base, r.Value != UnknownValue && r.Value != o.Value, r.Mod > 0 && r.Lease != o.Lease:
		return false
	case r.Version >= 0:
		return r.MayBeCreatedAt(o.Create, base) && r.Version == o.Version
	case r.Create < 0 && r.Create == -o.Create:
		return o.Version == r.Version-OpenVersion
	}
	return r.MayBeCreatedAt(o.Create, base) && o.Version > r.Version-OpenVersion
}

// digest is a number that differs for different records of different keys, nearly always. Digests are combined by exclusive or.
func (r *Record) digest(key int32) uint64 {
	if r.Mod == 0 {
		return 0
	}
	h := mix(uint64(key) + 0x9e3779b97f4a7c15)
	h = mix(h ^ uint64(r.Create))
	h = mix(h ^ uint64(r.Mod))
	h = mix(h ^ uint64(r.Version))
	h = mix(h ^ uint64(r.Lease))
	return mix(h ^ uint64(r.Value))
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
