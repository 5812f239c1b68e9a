package bolt

// minApart is how many branch pages each part of a tree has at least: smaller ones are not worth it.
const minApart = 8

// apart walks the tree of a bucket as tree does, in parts at the same time, and tells whether that was possible: the tree
// must be large, and sound. What is damaged is read in order, from the beginning, so that what is said of it does not
// depend on the number of processors.
func (c *checker) apart(b *Bucket) bool {
	n := c.db.parts
	if c.visitor == nil || n < 2 {
		return false
	}
	top := c.fork()
	below, depth, ok := top.subtrees(b, n*minApart)
	if !ok {
		return false
	}
	parts, walks := make([]*checker, n), make([]func(), n)
	for i := range parts {
		part := c.fork()
		parts[i] = part
		walks[i] = func() {
			for _, r := range below[i*len(below)/n : (i+1)*len(below)/n] {
				if len(part.tree(nil, b, r, depth)) > 0 {
					part.broken = true
					return
				}
			}
		}
	}
	c.db.together(walks)
	return c.join(append(parts, top))
}

// subtrees reads the top of a tree, down to the first level that has at least n branch pages. ok is false if there is none.
func (c *checker) subtrees(b *Bucket, n int) (level []ref, depth int, ok bool) {
	level = []ref{b.ref()}
	for ; len(level) < n; depth++ {
		var next []ref
		for _, r := range level {
			p, holes, ok := c.enter(nil, b, r, depth)
			if !ok || len(holes) > 0 || p.leaf {
				return nil, 0, false
			}
			for i := range p.n {
				next = append(next, p.child(i, r.high))
			}
		}
		level = next
	}
	p, f := c.db.load(level[0])
	return level, depth, f == nil && !p.leaf
}

// fork returns a checker for a part of a tree, which knows nothing of the others.
func (c *checker) fork() *checker {
	return &checker{db: c.db, kinds: make([]kind, len(c.kinds)), clears: map[string][]Hole{}, visitor: c.visitor.Fork()}
}

// join takes over what forks found, in their order, unless some page is damaged or used twice.
func (c *checker) join(forks []*checker) bool {
	kinds := make([]kind, len(c.kinds))
	copy(kinds, c.kinds)
	for _, f := range forks {
		if f.broken {
			return false
		}
		for id, k := range f.kinds {
			if k == kindUnknown {
				continue
			}
			if kinds[id] != kindUnknown {
				return false
			}
			kinds[id] = k
		}
	}
	c.kinds = kinds
	for _, f := range forks {
		c.report.Findings = append(c.report.Findings, f.report.Findings...)
		c.report.Rows += f.report.Rows
		c.report.RowBytes += f.report.RowBytes
		c.nested = append(c.nested, f.nested...)
		c.claims = append(c.claims, f.claims...)
		for name, holes := range f.clears {
			c.clears[name] = append(c.clears[name], holes...)
		}
		c.visitor.Join(f.visitor)
	}
	return true
}
