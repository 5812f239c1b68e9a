package export

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

// Unknown stands for a cluster or a time that the evidence does not tell.
const Unknown = "unknown"

// TimeFormat is that of a time in a path, in UTC: engines cast it to a timestamp.
const TimeFormat = "2006-01-02T15:04:05Z"

// Partition is what the rows of one member have in common in all tables. It is in the path of a file, and not in the file.
type Partition struct {
	Cluster string // id of the cluster, 16 hex digits, or Unknown
	Member  string // label
	Time    string // the newest that the evidence tells, in TimeFormat, or Unknown
}

func partitionOf(m *inspect.Member) Partition {
	p := Partition{Cluster: Unknown, Member: m.Label, Time: Unknown}
	if m.Log.HasMetadata {
		p.Cluster = diff.ID(m.Log.ClusterID).String()
	}
	if t := m.Newest(); !t.IsZero() {
		p.Time = t.UTC().Truncate(time.Second).Format(TimeFormat)
	}
	return p
}

// nullPartition is what Hive writes for a value that is empty (org.apache.hadoop.hive.conf.HiveConf, DEFAULTPARTITIONNAME).
const nullPartition = "__HIVE_DEFAULT_PARTITION__"

// escaped are the characters of ASCII, besides controls, that a value in a path must not have: those of Hive, and those that it
// escapes on Windows only (org.apache.hadoop.hive.common.FileUtils, charToEscape).
const escaped = "\"#%'*/:=?\\\x7f{[]^<>|"

// escapePath is a value as Hive writes it into a path: whatever it holds, it stays one element of it.
func escapePath(value string) string {
	if value == "" {
		return nullPartition
	}
	var b []byte
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' || strings.IndexByte(escaped, c) >= 0 {
			b = fmt.Appendf(b, "%%%02X", c)
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// fileName is that of the only file of a partition.
const fileName = "part-0.parquet"

// maxName is how long an element of a path can be, in bytes, where it matters: on Linux, and about so elsewhere.
const maxName = 255

// path is the file of a table that holds the rows of a partition.
func (p Partition) path(dir, table string) string {
	return filepath.Join(dir, table, "cluster="+escapePath(p.Cluster), "member="+escapePath(p.Member), "time="+escapePath(p.Time), fileName)
}

// check tells whether the partition can be in a path.
func (p Partition) check() error {
	if n := len("member=" + escapePath(p.Member)); n > maxName {
		return fmt.Errorf("the name of a member takes %d bytes in a path, of at most %d: name it, as NAME=PATH", n, maxName)
	}
	return nil
}
