package report

import (
	"fmt"
	"io"
	"strconv"

	"etcd-autopsy/diff/preflight"
)

// saidShown bounds the wordings of a message that are shown to people.
const saidShown = 3

var outcomeWords = map[preflight.Outcome]string{
	preflight.Starts: "STARTS", preflight.Unknown: "CANNOT TELL", preflight.Harms: "HARMS", preflight.Stops: "STOPS",
}

// Preflight writes whether a release would start.
func Preflight(w io.Writer, d *preflight.Document, format Format, hints ...string) error {
	return encode(w, format, d, func() *page { return preflightPage(d, hints) }, func() (ls [][]string) {
		for i := range d.Members {
			m := &d.Members[i]
			for _, r := range m.Releases {
				ls = append(ls, []string{m.Member, r.Releases, string(r.Outcome)})
				for _, x := range r.Reasons {
					ls = append(ls, []string{m.Member, r.Releases, string(x.Outcome), x.Code, x.What, strconv.Itoa(x.Count)})
				}
			}
		}
		return ls
	})
}

func preflightPage(d *preflight.Document, hints []string) *page {
	p := &page{verdict: outcomeWords[d.Outcome], hints: hints}
	p.title = map[preflight.Outcome]string{
		preflight.Starts:  fmt.Sprintf("nothing is known that would keep etcd %s from starting on this data, or make it do harm", d.To),
		preflight.Unknown: fmt.Sprintf("what etcd %s makes of this data is not known in all", d.To),
		preflight.Harms:   fmt.Sprintf("etcd %s would start on this data and do harm", d.To),
		preflight.Stops:   fmt.Sprintf("etcd %s would not start on this data", d.To),
	}[d.Outcome]
	for i := range d.Members {
		m := &d.Members[i]
		s := &page{title: m.Member}
		for _, r := range m.Releases {
			s.line(outcomeWords[r.Outcome], "%s", r.Releases)
			for _, x := range r.Reasons {
				times := ""
				if x.Count > 1 {
					times = fmt.Sprintf(", %d of this kind", x.Count)
				}
				s.line("", "- %s (%s%s): %s", x.What, x.Code, times, x.Detail)
				for n, says := range x.Says {
					if n == saidShown {
						break
					}
					s.line("", "  it says: %s", says)
				}
			}
		}
		p.sections = append(p.sections, s)
	}
	return p
}
