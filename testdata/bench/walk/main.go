// Command walk reads all rows of some dbs, a goroutine a file: the least that any reader of all rows does.
package main

import (
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	bolt "go.etcd.io/bbolt"
)

func main() {
	var files sync.WaitGroup
	for _, path := range os.Args[1:] {
		files.Go(func() {
			sum, err := walk(path)
			if err != nil {
				fmt.Fprintln(os.Stderr, "Error:", err)
				os.Exit(1)
			}
			fmt.Printf("%08x %s\n", sum, path)
		})
	}
	files.Wait()
}

func walk(path string) (sum uint32, err error) {
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	table := crc32.MakeTable(crc32.Castagnoli)
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				sum = crc32.Update(crc32.Update(sum, table, k), table, v)
				return nil
			})
		})
	})
	return sum, err
}
