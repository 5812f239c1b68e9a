package kube

import "strings"

// stored are the segments behind /registry/ under which an apiserver stores the objects of Kubernetes' own groups (pkg/kubeapiserver and
// pkg/registry of kubernetes 1.10 to 1.34). Custom resources have their group there, which has a dot in it.
var stored = segments(`
	certificatesigningrequests clusterrolebindings clusterroles configmaps controllerrevisions controllers cronjobs csidrivers csinodes
	csistoragecapacities daemonsets deployments deviceclasses endpointslices events flowschemas horizontalpodautoscalers ingress ingressclasses
	ipaddresses jobs leases limitranges masterleases minions mutatingadmissionpolicies mutatingadmissionpolicybindings
	mutatingwebhookconfigurations namespaces networkpolicies peerserverleases persistentvolumeclaims persistentvolumes poddisruptionbudgets
	pods podsecuritypolicy podtemplates priorityclasses prioritylevelconfigurations ranges replicasets resourceclaims resourceclaimtemplates
	resourcequotas resourceslices rolebindings roles runtimeclasses secrets serviceaccounts servicecidrs services statefulsets storageclasses
	storageversions validatingadmissionpolicies validatingadmissionpolicybindings validatingwebhookconfigurations volumeattachments
	volumeattributesclasses apiextensions.k8s.io apiregistration.k8s.io`)

// second are segments behind some of these that name no object.
var second = map[string]map[string]bool{
	"services":               segments("specs endpoints"),
	"ranges":                 segments("serviceips servicenodeports"),
	"apiextensions.k8s.io":   segments("customresourcedefinitions"),
	"apiregistration.k8s.io": segments("apiservices"),
}

func segments(names string) map[string]bool {
	set := map[string]bool{}
	for _, n := range strings.Fields(names) {
		set[n] = true
	}
	return set
}

// Stored returns how many of a key's segments, from the first one on, name the place where Kubernetes stores objects of its own groups, and no
// object: 3 of "", "registry", "pods", "default", "web". It is 0 if the key is none of these.
func Stored(parts []string) int {
	if len(parts) < 3 || parts[0] != "" || parts[1] != "registry" || !stored[parts[2]] {
		return 0
	}
	if len(parts) > 3 && second[parts[2]][parts[3]] {
		return 4
	}
	return 3
}

// IsResource tells whether a word is the segment for one of Kubernetes' own resources.
func IsResource(word string) bool { return stored[word] }
