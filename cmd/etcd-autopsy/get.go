package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/values"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) get() *cobra.Command {
	var o values.Options
	var object bool
	var namespace string
	cmd := a.inputOptions(&cobra.Command{
		Use:   "get KEY MEMBER...",
		Short: "Show the value of a key on each member, decoded, and the fields in which it differs",
		Long: `get shows what a key holds on each member, at the end of its db or at --rev. What Kubernetes stores,
in protobuf or JSON, is shown as YAML, and compared field by field. Kinds that Kubernetes' own
packages do not know are named, with their size; text is shown as it is. Long values are cut, but
not in JSON. -w yaml, or --object with -w json, writes the object alone, as it could be applied:
without its status and what the apiserver sets itself.

What Secrets hold (data, stringData, the last applied configuration) is shown as sizes, unless
--show-values is given. A KEY with bytes that cannot be printed is given in hex, as 0x00ff.

With --namespace NAME in place of a KEY it writes all objects of a Kubernetes namespace, of one
MEMBER, as they could be applied, Secrets with what they hold. With --rev they are those from
before somebody deleted them: history and log tell when that was. The namespace itself comes
first. -w yaml, the default, has a document for each object, -w json is a List. What is no object
that can be decoded is left out, and counted on the standard error.

` + members + `

Exit status:
  0  the members hold the same value with the same lease, or none has the key any more
  1  they differ; if they are not at the same entry, this may be lag
  2  could not run: wrong usage, nothing that can be read, or a key that no member ever had
  3  no difference found, but not every member could tell; of a namespace, objects may be missing`,
		Example: `  etcd-autopsy get /registry/pods/default/web-0 node1/ node2/ node3/
  etcd-autopsy get /registry/pods/default/web-0 node1/ --rev 4711
  etcd-autopsy get /registry/deployments/default/web node1/ --rev 4711 -w yaml > web.yaml
  etcd-autopsy get --namespace shop node1/ --rev 4710 > shop.yaml
  etcd-autopsy get 0x00ff7a backup.db -w json`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp // a key is no file
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && !cmd.Flags().Changed("namespace") {
				return &hinted{errors.New("a key without a member"), "give a KEY and at least one MEMBER: " + cmd.UseLine()}
			}
			return needMembers(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			format := report.YAML
			if a.format != string(report.YAML) {
				var err error
				if format, err = report.ParseFormat(a.format); err != nil {
					return err
				}
			}
			switch {
			case format == report.YAML || object && !cmd.Flags().Changed("write-out"):
				object, format = true, report.YAML
			case object && format != report.JSON:
				return fmt.Errorf("--object is written as yaml or json, not as %s", format)
			}
			if o.Revision < 0 || cmd.Flags().Changed("rev") && o.Revision == 0 {
				return errors.New("--rev must be a revision, and these are positive")
			}
			if cmd.Flags().Changed("namespace") {
				if f := cmd.Flags().Lookup("write-out"); f.Changed && format != report.YAML && format != report.JSON {
					return fmt.Errorf("--namespace is written as yaml or json, not as %s", format)
				} else if !f.Changed {
					format = report.YAML
				}
				return a.getNamespace(cmd, args, namespace, o.Revision, format)
			}
			key, err := parseKey(args[0])
			if err != nil {
				return err
			}
			return a.reads(cmd, args[1:], func(ms []*inspect.Member, hints []string) error {
				if err := anyReadable(ms); err != nil {
					return err
				}
				doc := values.Get(ms, key, o)
				if err := interrupted(cmd); err != nil {
					return err
				}
				if !doc.Known() {
					return &hinted{fmt.Errorf("no member has, or had, the key %s", diff.Key(key)), "etcd stores whole keys: those of Kubernetes begin with /registry/"}
				}
				switch doc.Verdict {
				case diff.Consistent:
				case diff.Diverged:
					a.status = exitDiverged
				default:
					a.status = exitPartial
				}
				if object {
					err := report.Object(cmd.OutOrStdout(), doc, format)
					if errors.Is(err, report.ErrSeveralObjects) {
						return &hinted{err, "name one MEMBER, or take -w yaml, which has a document for each"}
					}
					return err
				}
				return report.Get(cmd.OutOrStdout(), doc, format, hints...)
			})
		},
	})
	cmd.Flags().Int64Var(&o.Revision, "rev", 0, "the value as of this revision, instead of each member's last")
	cmd.Flags().StringVar(&namespace, "namespace", "", "in place of a KEY all objects of the Kubernetes namespace `NS`")
	cmd.Flags().BoolVar(&object, "object", false, "write the Kubernetes object alone, as it could be applied, as YAML or JSON")
	cmd.Flags().BoolVar(&o.Secrets, "show-values", false, "show what Secrets hold")
	return cmd
}

// getNamespace writes the objects of a namespace.
func (a *app) getNamespace(cmd *cobra.Command, args []string, namespace string, at int64, format report.Format) error {
	if namespace == "" || strings.Contains(namespace, "/") {
		return errors.New("--namespace must be the name of a namespace")
	}
	return a.reads(cmd, args, func(ms []*inspect.Member, _ []string) error {
		if len(ms) != 1 {
			var labels []string
			for _, m := range ms {
				labels = append(labels, m.Label)
			}
			return &hinted{fmt.Errorf("--namespace takes the objects of one member, and these are %s", strings.Join(labels, ", ")), "name one MEMBER; diff says which"}
		}
		if err := anyReadable(ms); err != nil {
			return err
		}
		n, err := values.GetNamespace(ms[0], namespace, at)
		if err != nil {
			return err
		}
		if err := interrupted(cmd); err != nil {
			return err
		}
		left := 0
		for _, why := range slices.Sorted(maps.Keys(n.LeftOut)) {
			sayNote(cmd, fmt.Sprintf("left out: %s of the namespace: %s", countOf(n.LeftOut[why], "key"), why))
			left += n.LeftOut[why]
		}
		for _, d := range n.Doubts {
			sayNote(cmd, d)
		}
		if len(n.Objects) == 0 {
			hint := "no key is in any namespace: is this the db of a Kubernetes cluster?"
			if k := len(n.Others); k > 0 {
				hint = "keys are in " + strings.Join(n.Others[:min(k, namespacesShown)], ", ")
				if k > namespacesShown {
					hint += fmt.Sprintf(" and %d more", k-namespacesShown)
				}
			}
			return &hinted{fmt.Errorf("%s has no object of namespace %s that can be decoded at revision %d", n.Label, diff.NameOf(namespace).Called(), n.Revision), hint}
		}
		if n.Owned > 0 {
			sayNote(cmd, fmt.Sprintf("%s with owners (ownerReferences) among %s: applied anew, their owners have other uids, so that Kubernetes deletes them again, and the owners make them anew",
				countOf(n.Owned, "object"), countOf(len(n.Objects), "object")))
		}
		if left > 0 || len(n.Doubts) > 0 {
			a.status = exitPartial
		}
		return report.Objects(cmd.OutOrStdout(), n, format)
	})
}

// namespacesShown bounds those that a hint names.
const namespacesShown = 20

// countOf is a number of things.
func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
