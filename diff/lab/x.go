package lab

import (
	_ "go.etcd.io/etcd/client/pkg/v3/types"
	_ "go.etcd.io/etcd/server/v3/auth"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3alarm"
	_ "go.etcd.io/etcd/server/v3/etcdserver/apply"
	_ "go.etcd.io/etcd/server/v3/storage/wal"
	_ "golang.org/x/crypto/bcrypt"
)
