//go:build !linux

package scratch

import "errors"

// mapTemporary always fails: only Linux has files that never have a name and whose space is sure.
func mapTemporary(string, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmap([]byte) {}
