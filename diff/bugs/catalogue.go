package bugs

import "strings"

// catalogue is every known bug, in the order in which its parts are listed.
var catalogue = concat(applyBugs, leaseBugs, indexBugs, fileBugs, membershipBugs, versionBugs, compactionBugs, operatorBugs, authBugs, backupBugs, invisibleBugs)

func concat(parts ...[]*Bug) []*Bug {
	var all []*Bug
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// refs expands issue and pull request numbers of etcd ("11651"), of bbolt ("bbolt#567") and of raft ("raft#300");
// anything else stays as it is.
func refs(short string) []string {
	var out []string
	for r := range strings.FieldsSeq(short) {
		repo, n, ok := strings.Cut(r, "#")
		switch {
		case strings.Trim(r, "0123456789") == "":
			out = append(out, "https://github.com/etcd-io/etcd/issues/"+r)
		case ok:
			out = append(out, "https://github.com/etcd-io/"+repo+"/issues/"+n)
		case strings.HasPrefix(r, "GHSA-"):
			out = append(out, "https://github.com/advisories/"+r)
		case strings.HasPrefix(r, "CVE-"):
			out = append(out, "https://www.cve.org/CVERecord?id="+r)
		default:
			out = append(out, r)
		}
	}
	return out
}

// Refs are the addresses of issues and pull requests by their numbers: "11651" of etcd, "bbolt#567", "raft#300".
func Refs(short string) []string { return refs(short) }

const (
	rebuildMember = "remove the member that stands alone, empty its data directory and add it again; upgrade"
)
