package attach

import (
	"io"
	"reflect"

	"etcd-autopsy/report"
)

// JSON writes report.json.
func JSON(w io.Writer, r *Report) error {
	return report.StreamJSON(w, r, " ", reflect.TypeFor[Report]())
}
