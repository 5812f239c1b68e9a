package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
)

func ExampleOpen() {
	set, err := inspect.Open(context.Background(), []string{"../testdata/crash-inconsistency"}, inspect.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	for _, m := range set.Members {
		if m.DB == nil {
			fmt.Println(m.Label, "has no db that can be read")
			continue
		}
		whole, _ := m.Complete()
		fmt.Printf("%s: revision %d at entry %d, %d keys, whole: %v\n", m.Label, m.DB.Revision(), m.DB.Tables.ConsistentIndex, m.DB.Rows.CountLive(), whole)
	}
	// Output:
	// a: revision 781 at entry 791, 234 keys, whole: true
	// b: revision 781 at entry 791, 234 keys, whole: true
	// c: revision 780 at entry 791, 234 keys, whole: true
}

func ExampleOpen_errors() {
	for _, path := range []string{"../testdata/none", "../testdata/gen", "../testdata/crash-inconsistency"} {
		set, err := inspect.Open(context.Background(), []string{path}, inspect.Options{})
		foreign, ok := errors.AsType[*evidence.ForeignError](err)
		switch {
		case err == nil:
			fmt.Println(len(set.Members), "members")
			_ = set.Close()
		case errors.Is(err, fs.ErrNotExist):
			fmt.Println("no such path")
		case ok:
			fmt.Println("not etcd's:", foreign.What)
		case errors.Is(err, evidence.ErrNoMember):
			fmt.Println("nothing to read")
		default: // evidence.ErrShrank, or the error of the context, or one of the file system
			fmt.Println(err)
		}
	}
	// Output:
	// no such path
	// nothing to read
	// 3 members
}
