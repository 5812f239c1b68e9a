package main

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"etcd-autopsy/report/escape"
)

// TestScreen asks for width and colour on a terminal, a file, and what is neither.
func TestScreen(t *testing.T) {
	t.Parallel()
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminal can be had: ", err)
	}
	defer tty.Close()
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 132}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var buffer bytes.Buffer
	for _, c := range []struct {
		name   string
		colour string
		env    map[string]string
		tty    escape.Screen
		file   escape.Screen
	}{
		{"plain", colourAuto, nil, escape.Screen{Width: 132, Colour: true}, escape.Screen{}},
		{"always", colourAlways, nil, escape.Screen{Width: 132, Colour: true}, escape.Screen{Colour: true}},
		{"never", colourNever, nil, escape.Screen{Width: 132}, escape.Screen{}},
		{"NO_COLOR", colourAuto, map[string]string{"NO_COLOR": "1"}, escape.Screen{Width: 132}, escape.Screen{}},
		{"asked for in spite of NO_COLOR", colourAlways, map[string]string{"NO_COLOR": "1"}, escape.Screen{Width: 132, Colour: true}, escape.Screen{Colour: true}},
		{"dumb", colourAuto, map[string]string{"TERM": "dumb"}, escape.Screen{Width: 132}, escape.Screen{}},
		{"COLUMNS", colourAuto, map[string]string{"COLUMNS": "66"}, escape.Screen{Width: 66, Colour: true}, escape.Screen{Width: 66}},
		{"odd COLUMNS", colourNever, map[string]string{"COLUMNS": "-5"}, escape.Screen{Width: 132}, escape.Screen{}},
	} {
		getenv := func(name string) string { return c.env[name] }
		if got, err := screenOf(tty, c.colour, getenv); got != c.tty || err != nil {
			t.Errorf("%s on a terminal: %+v, %v, want %+v", c.name, got, err, c.tty)
		}
		if got, err := screenOf(file, c.colour, getenv); got != c.file || err != nil {
			t.Errorf("%s into a file: %+v, %v, want %+v", c.name, got, err, c.file)
		}
		if got, err := screenOf(&buffer, c.colour, getenv); got != c.file || err != nil {
			t.Errorf("%s elsewhere: %+v, %v, want %+v", c.name, got, err, c.file)
		}
	}
}
