package kube

import "maps"

// ownedByServer are the fields of metadata that an apiserver sets itself, and refuses or ignores when it is given them.
var ownedByServer = []string{
	"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid",
}

// Applicable is an object without what the apiserver sets itself, so that it could be created again: without its status, and without
// the copy of it that kubectl keeps. Fields are shared with the object.
func Applicable(fields map[string]any) map[string]any {
	out := maps.Clone(fields)
	delete(out, "status")
	meta, ok := out["metadata"].(map[string]any)
	if !ok {
		return out
	}
	meta = maps.Clone(meta)
	for _, name := range ownedByServer {
		delete(meta, name)
	}
	if notes, ok := meta["annotations"].(map[string]any); ok {
		notes = maps.Clone(notes)
		delete(notes, lastApplied)
		if meta["annotations"] = notes; len(notes) == 0 {
			delete(meta, "annotations")
		}
	}
	out["metadata"] = meta
	return out
}
