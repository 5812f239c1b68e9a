package messages

import (
	"regexp"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"etcd-autopsy/inspect/serverlog"
)

// plain are texts of etcd's errors that are not in the table: they mean no trouble with data.
var plain = func() map[string]bool {
	all := map[string]bool{}
	for _, err := range []error{
		auth.ErrRootUserNotExist, auth.ErrRootRoleNotExist, auth.ErrUserAlreadyExist, auth.ErrUserEmpty, auth.ErrUserNotFound, auth.ErrRoleAlreadyExist, auth.ErrRoleNotFound,
		auth.ErrRoleEmpty, auth.ErrPermissionNotGiven, auth.ErrAuthFailed, auth.ErrNoPasswordUser, auth.ErrPermissionDenied, auth.ErrRoleNotGranted, auth.ErrPermissionNotGranted,
		auth.ErrAuthNotEnabled, auth.ErrAuthOldRevision, auth.ErrInvalidAuthToken, auth.ErrInvalidAuthMgmt,
		errors.ErrStopped, errors.ErrCanceled, errors.ErrTimeout, errors.ErrTimeoutDueToLeaderFail, errors.ErrTimeoutDueToConnectionLost, errors.ErrLeaderChanged,
		errors.ErrNoLeader, errors.ErrNotLeader, errors.ErrRequestTooLarge, errors.ErrNoSpace, errors.ErrCorrupt, errors.ErrTooManyRequests, errors.ErrUnhealthy,
		lease.ErrLeaseNotFound, lease.ErrLeaseExists, lease.ErrNotPrimary, lease.ErrLeaseTTLTooLarge,
		mvcc.ErrCompacted, mvcc.ErrFutureRev, mvcc.ErrRevisionNotFound,
	} {
		all[err.Error()] = true
	}
	for _, s := range []string{"NOSPACE", "CORRUPT", "terminated", "interrupt", "hangup", "unexpected EOF", "EOF", "context canceled", "context deadline exceeded"} {
		all[s] = true
	}
	return all
}()

// bare are numbers, releases of etcd and durations.
var bare = regexp.MustCompile(`^(-?\d+|\d{1,2}\.\d{1,2}(\.\d{1,3})?(-(alpha|beta|rc)\.\d{1,2})?|[0-9.]+(ns|µs|ms|s|m|h))$`)

// id is one of a member, as raft writes it: without zeros before it. One of fewer digits is as rare as a name that looks like one is not.
var id = regexp.MustCompile(`^[0-9a-f]{12,16}$`)

// Apart takes a text of a log apart: into what etcd, raft, bbolt and Go themselves say, by the table, and what stands in the places of it and can
// be anything, such as a name or a path, which is quoted; ids have all their 16 digits. A text that is not known is quoted as a whole.
func Apart(text string) []serverlog.Part {
	return apart(text, maxDepth)
}

func apart(text string, depth int) []serverlog.Part {
	if id.MatchString(text) {
		return []serverlog.Part{{Text: strings.Repeat("0", 16-len(text)) + text}}
	}
	if text == "" || plain[text] || bare.MatchString(text) {
		return []serverlog.Part{{Text: text}}
	}
	if depth < 0 {
		return []serverlog.Part{{Text: text, Quoted: true}}
	}
	for _, w := range indexed().of(text) {
		places, ok := w.pattern.Match([]byte(text))
		if !ok {
			continue
		}
		var parts []serverlog.Part
		for i, l := range w.pattern.Literals() {
			parts = append(parts, serverlog.Part{Text: l})
			if i < len(places) {
				parts = append(parts, apart(string(places[i]), depth-1)...)
			}
		}
		return parts
	}
	if head, tail, ok := strings.Cut(text, ": "); ok {
		return append(append(apart(head, depth-1), serverlog.Part{Text: ": "}), apart(tail, depth-1)...)
	}
	return []serverlog.Part{{Text: text, Quoted: true}}
}

// of are the wordings that a text may be.
func (x *index) of(text string) []*Wording {
	if len(text) < 4 {
		return nil
	}
	return slices.Concat(x.by[[4]byte([]byte(text))], x.rest)
}
