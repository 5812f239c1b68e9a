package remedy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/diff/bugs"
	"etcd-autopsy/diff/shell"
)

// Procedure is how it is done where etcd is run in some way. Its lines are to be read and adapted, not to be run by a program.
type Procedure struct {
	Where string `json:"where"`
	// Steps are commands for a shell, and comments.
	Steps []string `json:"steps"`
}

// recovered is the file that recover is to write, where none was given.
const recovered = "recovered.db"

// Wheres of procedures.
const (
	file    = "the file"
	kubeadm = "kubeadm, static pods"
	k3s     = "k3s, embedded etcd"
	systemd = "systemd"
)

func (p *planner) procedures() {
	switch p.d.Action {
	case Restore:
		p.restore()
	case Rebuild, CopyAgain:
		p.rejoin()
	}
}

func (p *planner) add(where string, steps ...string) {
	p.d.Procedures = append(p.d.Procedures, Procedure{Where: where, Steps: steps})
}

// restore is for the cluster as a whole, from a file.
func (p *planner) restore() {
	from := recovered
	if p.q.File != nil {
		from = p.q.Path
		p.add(file, cmp.Or(shell.Command("etcd-autopsy verify %s", from), "# etcd-autopsy verify, and the file: its name has characters that a shell may misread, quote it yourself"))
	} else {
		words := slices.Concat(p.q.Args, p.q.Logs, []string{p.src.Label})
		line := "etcd-autopsy recover" + strings.Repeat(" %s", len(p.q.Args)) + strings.Repeat(" --wal-dir %s", len(p.q.Logs))
		if p.q.Meta != "" {
			line += " --meta " + p.q.Meta
		}
		moment := ""
		if p.src.DB == nil { // all that its log is known to have committed
			moment = fmt.Sprintf(" --at-entry %d", p.src.Log.HardState.Commit)
		}
		p.add(file,
			cmp.Or(shell.Command(line+" --from %s"+moment+" -o "+recovered, words...),
				"# etcd-autopsy recover, the members as for this plan, --from and the member,"+moment+" -o "+recovered+": a name has characters that a shell may misread, quote it yourself"),
			"etcd-autopsy verify "+recovered)
	}
	program, flags := "etcdutl snapshot restore", ""
	switch minor := p.minor(); {
	case minor > 0 && minor < 4:
		program = "ETCDCTL_API=3 etcdctl snapshot restore"
	case minor == 4:
		program = "etcdctl snapshot restore"
	}
	if b := p.d.Bump; b.Possible {
		flags = fmt.Sprintf("--bump-revision %d --mark-compacted", b.By)
	}
	if p.q.File != nil && (p.q.File.DB == nil || !p.q.File.DB.Bolt.TrailerOK()) {
		flags = strings.TrimSpace("--skip-hash-check " + flags) // only what snapshot save writes has a hash
	}
	each := func(dir string) []string {
		if lines := bugs.Restore(program, from, flags, dir, p.of()); len(lines) > 0 {
			return lines
		}
		return []string{
			"# " + program + " with " + cmp.Or(flags, "no flag") + " and --name, --initial-cluster, --initial-advertise-peer-urls, --data-dir " + dir + ":",
			"# a name, a url or the path has characters that a shell may misread; inspect shows them, quote each one yourself",
		}
	}
	lines := func(parts ...[]string) (all []string) {
		for _, l := range parts {
			all = append(all, l...)
		}
		return all
	}
	p.add(kubeadm, lines([]string{
		"# on every control plane node: stop etcd, the api server and what caches keys; deleting their pods would not restart them",
		"mkdir -p /root/stopped",
		"mv /etc/kubernetes/manifests/etcd.yaml /etc/kubernetes/manifests/kube-apiserver.yaml /root/stopped/",
		"mv /etc/kubernetes/manifests/kube-controller-manager.yaml /etc/kubernetes/manifests/kube-scheduler.yaml /root/stopped/",
		"# wait until crictl ps shows none of them; then set the data directory aside, which is the copy to keep",
		"mv /var/lib/etcd /var/lib/etcd.before",
		"# on each node one of these, that of its own name, with the file beside it",
	}, each("/var/lib/etcd"), []string{
		"# on every control plane node: start etcd; when all are up and agree, the others",
		"mv /root/stopped/etcd.yaml /etc/kubernetes/manifests/",
		"mv /root/stopped/kube-apiserver.yaml /root/stopped/kube-controller-manager.yaml /root/stopped/kube-scheduler.yaml /etc/kubernetes/manifests/",
		"# on every node, the workers, too: kubelet caches keys",
		"systemctl restart kubelet",
		"# restart kube-proxy, the agents of the network, operators and whatever else watches",
	})...)
	file := from
	var raised []string
	if p.d.Bump.Possible {
		// k3s restores by itself and raises no revision: what is raised before is a db like any other to it.
		file = "raised/member/snap/db"
		raised = []string{
			"# on the first server: the restore of k3s raises no revisions, so that this is done before",
			cmp.Or(shell.Command(program+" %s "+flags+" --data-dir raised", from), "# "+program+" with "+flags+" --data-dir raised, and the file: quote its name yourself"),
		}
	}
	p.add(k3s, lines([]string{
		"# on every server: stop it, and keep a copy",
		"systemctl stop k3s",
		"cp -a /var/lib/rancher/k3s/server/db /var/lib/rancher/k3s/server/db.before",
	}, raised, []string{
		"# on the first server, with the token that the cluster had: a cluster of one member is made of the file",
		cmp.Or(shell.Command("k3s server --cluster-reset --cluster-reset-restore-path=%s", file), "# k3s server with --cluster-reset and --cluster-reset-restore-path, the file: quote its name yourself"),
		"systemctl start k3s",
		"# on each other server, one after another: it joins again and takes all from the first",
		"mv /var/lib/rancher/k3s/server/db /var/lib/rancher/k3s/server/db.moved",
		"systemctl start k3s",
		"# restart the agents, and operators and whatever else watches",
	})...)
	p.add(systemd, lines([]string{
		"# on every host: stop etcd; DATA_DIR is its data directory, the copy is the one to keep",
		"systemctl stop etcd",
		"mv DATA_DIR DATA_DIR.before",
		"# on each host one of these, that of its own name, with the file beside it",
	}, each("DATA_DIR"), []string{
		"chown -R etcd:etcd DATA_DIR",
		"# when all are restored",
		"systemctl start etcd",
		"# restart whatever watches or caches keys",
	})...)
}

// rejoin is for members that are made anew while the others go on.
func (p *planner) rejoin() {
	if len(p.d.Rebuild) == 0 || 2*len(p.d.Rebuild) >= len(p.q.Members) {
		return // the others would have no quorum
	}
	var steps []string
	if p.d.Action == CopyAgain {
		steps = append(steps, "# first copy the member again while it is stopped, and check that copy; go on only if it shows the same damage")
	}
	for _, l := range p.d.Rebuild {
		steps = append(steps, bugs.Rejoin(l, node(p.find(l)), p.of())...)
	}
	p.add("each member to rebuild, one after another", steps...)
	p.add(kubeadm,
		"# etcdctl needs these",
		"export ETCDCTL_ENDPOINTS=https://127.0.0.1:2379 ETCDCTL_CACERT=/etc/kubernetes/pki/etcd/ca.crt",
		"export ETCDCTL_CERT=/etc/kubernetes/pki/etcd/server.crt ETCDCTL_KEY=/etc/kubernetes/pki/etcd/server.key",
		"# to stop etcd and keep a copy, on the node of the member",
		"mkdir -p /root/stopped",
		"mv /etc/kubernetes/manifests/kube-apiserver.yaml /etc/kubernetes/manifests/etcd.yaml /root/stopped/",
		"# wait until crictl ps shows neither: etcd writes until then",
		"mv /var/lib/etcd /var/lib/etcd.before",
		"# to start it, with --initial-cluster of all members and --initial-cluster-state=existing in etcd.yaml; the api server once it is promoted",
		"mv /root/stopped/etcd.yaml /etc/kubernetes/manifests/",
		"mv /root/stopped/kube-apiserver.yaml /etc/kubernetes/manifests/",
	)
	p.add(k3s,
		"# on the server of the member: k3s removes and adds members by itself, so that this takes the place of etcdctl",
		"systemctl stop k3s",
		"cp -a /var/lib/rancher/k3s/server/db /var/lib/rancher/k3s/server/db.before",
		"# on another server",
		"kubectl delete node NODE_NAME",
		"# on the server of the member, with --server of another one in its configuration",
		"mv /var/lib/rancher/k3s/server/db /var/lib/rancher/k3s/server/db.moved",
		"systemctl start k3s",
	)
	p.add(systemd,
		"# to stop etcd and keep a copy, on the host of the member",
		"systemctl stop etcd",
		"mv DATA_DIR DATA_DIR.before",
		"# to start it, with --initial-cluster of all members and --initial-cluster-state existing",
		"systemctl start etcd",
	)
}
