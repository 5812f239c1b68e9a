package report

import (
	"encoding/base64"
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
		m := map[string]any{"val_size": len(v.Val)}
		unknown := func(name, s string) {
			m[name+"_size"], m[name+"_sha256"] = len(s), sumOf([]byte(s))
		}
		if v.KnownMethod() {
			m["method"] = v.Method
		} else {
			unknown("method", v.Method)
		}
		if v.KnownPath() {
			bytesInto(m, "path", v.Path)
		} else {
			unknown("path", v.Path)
		}
		// Nothing but the servers' own keys: others may be those of users, with passwords among them.
		if values && v.KnownMethod() && strings.HasPrefix(v.Path, "/0/") {
			bytesInto(m, "val", v.Val)
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
			m["member"] = newClusterMember(cc.Member.ID, cc.Member.Name, cc.Member.PeerURLs, cc.Member.ClientURLs, cc.Member.IsLearner)
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
				switch x := v.List().Get(i); fd.Kind() {
				case protoreflect.MessageKind:
					list = append(list, protoFields(x.Message(), values))
				case protoreflect.StringKind:
					if text, b64 := texts([]string{x.String()}); b64 != nil {
						all, _ := out[name+"_base64"].([]string)
						out[name+"_base64"] = append(all, b64...)
					} else {
						list = append(list, text[0])
					}
				default:
					list = append(list, scalar(fd, x))
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
		case fd.Kind() == protoreflect.StringKind:
			bytesInto(out, name, v.String())
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
	}
	return v.Interface()
}
