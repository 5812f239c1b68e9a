package bugs

// catalogue is filled from its parts, in the order in which they are listed.
var catalogue = concat(applyBugs)

func concat(parts ...[]*Bug) []*Bug {
	var all []*Bug
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func issue(ns ...string) []string {
	var refs []string
	for _, n := range ns {
		refs = append(refs, "https://github.com/etcd-io/etcd/issues/"+n)
	}
	return refs
}
