package main

import (
	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
)

// completeLabels completes what members are called in the output, of those that are named on the command line so far.
func (a *app) completeLabels(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	set, closed, err := a.engine.open(cmd.Context(), args, inspect.Options{WALDirs: a.in.wal, TempDir: a.in.temp})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var labels []string
	for _, m := range set.Members {
		labels = append(labels, m.Label)
	}
	if closed() != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return labels, cobra.ShellCompDirectiveNoFileComp
}

// completion takes the place of cobra's own command of that name, which does not say how it exits.
func (a *app) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the script that completes commands and flags in a shell",
		Long: `completion prints a script for a shell. Load it in the shell's start file, or write it to where the
shell looks for such scripts.

Exit status:
  0  done
  2  could not run: wrong usage, or no such shell`,
		Example: `  source <(etcd-autopsy completion bash)
  etcd-autopsy completion zsh > "${fpath[1]}/_etcd-autopsy"
  etcd-autopsy completion fish > ~/.config/fish/completions/etcd-autopsy.fish
  etcd-autopsy completion powershell | Out-String | Invoke-Expression`,
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:             []string{"bash", "fish", "powershell", "zsh"},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, w := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w, true)
			case "zsh":
				return root.GenZshCompletion(w)
			case "fish":
				return root.GenFishCompletion(w, true)
			}
			return root.GenPowerShellCompletionWithDesc(w)
		},
	}
}
