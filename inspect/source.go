package inspect

import (
	"strings"

	"etcd-autopsy/inspect/raftlog"
)

// Segments are the files of the member's log as they are on the disk.
func (m *Member) Segments() []raftlog.Source {
	var src []raftlog.Source
	for _, f := range m.Files {
		if strings.HasPrefix(f.Name, "member/wal/") {
			src = append(src, raftlog.Source{Name: f.Name, Data: f.Bytes()})
		}
	}
	return src
}
