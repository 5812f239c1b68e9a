package evidence

import (
	"bufio"
	"io"
)

// Plain reads what a stream unpacks to, if its first bytes say that it is gzip, zstd, xz or bzip2, and the stream itself otherwise. Memory is
// bounded as for archives. Call done when it is not read any more.
func Plain(r io.Reader) (plain io.Reader, done func(), err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(headSize)
	if len(head) == 0 && err != nil && err != io.EOF {
		return nil, nil, err
	}
	k, _ := sniff(head, "")
	if !k.compressed() || k > bzip2Kind {
		k = unknown // the shorter a mark the likelier text begins with it
	}
	return decoder(k, in)
}
