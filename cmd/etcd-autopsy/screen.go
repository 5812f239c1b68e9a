package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8/cwriter"

	"etcd-autopsy/report/escape"
)

// When colour is used.
const (
	colourAuto   = "auto" // on a terminal, unless NO_COLOR is set
	colourAlways = "always"
	colourNever  = "never"
)

var colours = []string{colourAuto, colourAlways, colourNever}

// terminal returns the file that w is if that is a terminal.
func terminal(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && isatty.IsTerminal(f.Fd())
}

// screenOf tells what standard output can show, as the environment says and the terminal, if it is one.
func screenOf(w io.Writer, colour string, getenv func(string) string) (escape.Screen, error) {
	if !slices.Contains(colours, colour) {
		return escape.Screen{}, &hinted{fmt.Errorf("--color is one of %s, not %q", strings.Join(colours, ", "), colour), didYouMean(colour, colours, "")}
	}
	f, is := terminal(w)
	s := escape.Screen{Colour: colour == colourAlways || colour == colourAuto && is && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		s.Width = n
	} else if is {
		if n, _, err := cwriter.GetSize(int(f.Fd())); err == nil {
			s.Width = n
		}
	}
	return s, nil
}
