package kube

import (
	"bytes"
	"strings"
)

// keyParsed is how much of a key is looked at: names in Kubernetes are shorter.
const keyParsed = 1000 // bytes

// Name is what the key of an object says about it.
type Name struct {
	Resource  string // pods; widgets.example.com where the key names the group
	Namespace string // empty for what has none
	Name      string // may hold slashes, and be empty: the begin of keys is no object's
}

// NameOf reads a key of a Kubernetes apiserver: /registry/RESOURCE/NAME, /registry/RESOURCE/NAMESPACE/NAME, and the same with a
// GROUP in front of the resource. OpenShift's begin with /kubernetes.io and /openshift.io. ok is false for other keys.
func NameOf(key []byte) (n Name, ok bool) {
	parts := strings.Split(string(key[:min(len(key), keyParsed)]), "/")
	if len(parts) < 4 || parts[0] != "" || parts[1] != "registry" && parts[1] != "kubernetes.io" && parts[1] != "openshift.io" {
		return n, false
	}
	n.Resource = parts[2]
	rest := parts[3:]
	switch {
	case strings.Contains(n.Resource, ".") && len(rest) > 1:
		n.Resource, rest = rest[0]+"."+n.Resource, rest[1:]
	case n.Resource == "minions":
		n.Resource = "nodes"
	case n.Resource == "services" && rest[0] == "endpoints":
		n.Resource, rest = "endpoints", rest[1:]
	case n.Resource == "services" && rest[0] == "specs":
		rest = rest[1:]
	}
	switch {
	case n.Resource == "namespaces" && len(rest) == 1:
		n.Namespace = rest[0]
	case len(rest) > 1:
		n.Namespace, rest = rest[0], rest[1:]
	}
	n.Name = strings.Join(rest, "/")
	return n, true
}

// ResourceOf is the resource alone, nil if the key is none of Kubernetes. It copies nothing where it is a part of the key.
func ResourceOf(key []byte) []byte {
	key = key[:min(len(key), keyParsed)]
	var parts [3][]byte
	rest, ok := key, true
	for i := range parts {
		if parts[i], rest, ok = bytes.Cut(rest, []byte("/")); !ok {
			return nil
		}
	}
	switch resource := parts[2]; {
	case bytes.IndexByte(resource, '.') < 0 && string(resource) != "minions" && string(resource) != "services":
		if first := string(parts[1]); len(parts[0]) > 0 || first != "registry" && first != "kubernetes.io" && first != "openshift.io" {
			return nil
		}
		return resource
	default:
		n, ok := NameOf(key)
		if !ok {
			return nil
		}
		return []byte(n.Resource)
	}
}

// Within tells whether a key is where an apiserver stores an object of a namespace, whatever the resource and whatever all keys begin with:
// NAMESPACE/NAME are the last two segments of it (k8s.io/apiserver, pkg/registry/generic/registry/store.go, NamespaceKeyFunc, the same from
// 1.10 to 1.34).
func Within(key []byte, namespace string) bool {
	i := bytes.LastIndexByte(key, '/')
	if i < 0 || i == len(key)-1 {
		return false
	}
	return bytes.HasSuffix(key[:i], []byte("/"+namespace))
}

// IsNamespace tells whether a key is where the object of a namespace itself is stored.
func IsNamespace(key []byte, namespace string) bool {
	return bytes.HasSuffix(key, []byte("/namespaces/"+namespace))
}
