package report

import (
	"encoding/base64"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect/raftlog"
)

// requestFields is a request with the names that etcd's protobuf files give its fields: ids as hex, keys as text or base64,
// and of values only the size, unless they were asked for. Passwords, their hashes and tokens are never in a request that
// was decoded.
func requestFields(r *raftlog.Request, values bool) map[string]any {
	if v := r.V2; v != nil {
		m := map[string]any{"method": v.Method, "path": v.Path, "val_size": len(v.Val)}
		// Nothing but the servers' own keys: others may be those of users, with passwords among them.
		if values && strings.HasPrefix(v.Path, "/0/") {
			m["val"] = v.Val
		}
		return m
	}
	if cc := r.ConfChange; cc != nil {
		changes := []any{}
		for _, c := range cc.Changes {
			changes = append(changes, map[string]any{"type": c.Type, "node_id": diff.ID(c.NodeID)})
		}
		m := map[string]any{"changes": changes}
		if cc.Transition != "" {
			m["transition"] = cc.Transition
		}
		if cc.Member != nil {
			m["member"] = ClusterMember{
				ID: diff.ID(cc.Member.ID), Name: cc.Member.Name, Learner: cc.Member.IsLearner,
				PeerURLs: append([]string{}, cc.Member.PeerURLs...), ClientURLs: append([]string{}, cc.Member.ClientURLs...),
			}
			m["promote"] = cc.IsPromote
		}
		return m
	}
	if r.Internal == nil {
		return nil
	}
	m := protoFields(r.Internal.ProtoReflect(), values)
	delete(m, "header") // its fields are those of the entry
	delete(m, "ID")
	return m
}

func protoFields(m protoreflect.Message, values bool) map[string]any {
	out := map[string]any{}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(fd.Name())
		switch {
		case fd.IsMap(): // no request has one
		case fd.IsList():
			list := []any{}
			for i := range v.List().Len() {
				if fd.Kind() == protoreflect.MessageKind {
					list = append(list, protoFields(v.List().Get(i).Message(), values))
				} else {
					list = append(list, scalar(fd, v.List().Get(i)))
				}
			}
			out[name] = list
		case fd.Kind() == protoreflect.MessageKind:
			out[name] = protoFields(v.Message(), values)
		case fd.Kind() == protoreflect.BytesKind && name == "value":
			out["value_size"] = len(v.Bytes())
			if values {
				bytesInto(out, name, string(v.Bytes()))
			}
		case fd.Kind() == protoreflect.BytesKind:
			bytesInto(out, name, string(v.Bytes()))
		default:
			out[name] = scalar(fd, v)
		}
		return true
	})
	return out
}

func bytesInto(out map[string]any, name, b string) {
	if diff.Key(b).Printable() {
		out[name] = b
	} else {
		out[name+"_base64"] = base64.StdEncoding.EncodeToString([]byte(b))
	}
}

func scalar(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch fd.Kind() {
	case protoreflect.EnumKind:
		if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
		return int32(v.Enum())
	case protoreflect.Int64Kind, protoreflect.Uint64Kind:
		switch strings.ToLower(strings.ReplaceAll(string(fd.Name()), "_", "")) {
		case "id", "lease", "memberid":
			if fd.Kind() == protoreflect.Int64Kind {
				return diff.ID(uint64(v.Int()))
			}
			return diff.ID(v.Uint())
		}
	case protoreflect.StringKind:
		return fmt.Sprint(v.Interface())
	}
	return v.Interface()
}
