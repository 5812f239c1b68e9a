package diff_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

func ExampleInvestigate() {
	ctx := context.Background()
	set, err := inspect.Open(ctx, []string{"../testdata/crash-inconsistency"}, inspect.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = set.Close() }() // the document is read before: its keys lie in the files

	doc := diff.Investigate(ctx, set.Members, diff.Options{})
	if doc.Err != nil {
		log.Fatal(doc.Err)
	}
	fmt.Println(doc.Verdict, doc.Reasons)
	for _, d := range doc.Divergences {
		switch {
		case d.Entry != nil:
			fmt.Println("entry", d.Entry.Index, d.Entry.Type)
		case d.EntryInterval != nil:
			fmt.Println("between entries", d.EntryInterval.First, "and", d.EntryInterval.Last)
		}
		fmt.Println("groups", d.Groups, "faulty", d.Faulty)
		for _, x := range d.Explanations {
			fmt.Println(x.Status, x.ID, x.Title)
		}
	}
	// Output:
	// diverged []
	// entry 687 Txn
	// groups [[a b] [c]] faulty [c]
	// confirmed etcd-13766 A crash skips an entry: the consistent index was saved before the changes
}

// The document as JSON is what `etcd-autopsy diff -w json` writes.
func ExampleDocument() {
	ctx := context.Background()
	set, err := inspect.Open(ctx, []string{"../testdata/healthy-3.6"}, inspect.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	text, err := json.Marshal(diff.Investigate(ctx, set.Members, diff.Options{}))
	if err != nil {
		log.Fatal(err)
	}
	var read struct {
		Verdict string `json:"verdict"`
		Members []struct {
			Label string `json:"label"`
		} `json:"members"`
	}
	if err := json.Unmarshal(text, &read); err != nil {
		log.Fatal(err)
	}
	fmt.Println(read.Verdict, read.Members)
	// Output:
	// consistent [{s1} {s2} {s3}]
}
