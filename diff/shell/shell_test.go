package shell

import "testing"

func TestPlain(t *testing.T) {
	t.Parallel()
	for _, w := range []string{"etcd-a", "http://10.0.0.1:2380", "a=http://x:1,b=http://y:2", "COPY-OF-a/member/snap/db", "[::1]"[1:4]} {
		if !Plain(w) {
			t.Errorf("%q is not plain", w)
		}
	}
	for _, w := range []string{"", "-x", "--flag", "=x", "%1", "+x", "a b", "a\nb", "a'b", `a"b`, "$x", "`x`", "a;b", "a&b", "a|b", "a>b", "~x", "a*", "a?", "[a]", "{a}", "a\\b", "#a", "!a", "@a", "é", "a\u202e", "\x1b"} {
		if Plain(w) {
			t.Errorf("%q is plain", w)
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	if got := Command("etcdctl member add %s --peer-urls=%s", "a", "http://a:1"); got != "etcdctl member add a --peer-urls=http://a:1" || !Fit(got) {
		t.Error(got)
	}
	if got := Command("etcdctl member add %s --peer-urls=%s", "a", "http://a:1\nrm -rf /"); got != "" {
		t.Error(got)
	}
	if got := Command("%s %s", "a"); got != "" {
		t.Error(got)
	}
	for _, line := range []string{"etcdctl x\nrm y", "x $(y)", "x 'y'", "# x $(y)", "x   # $(y)", "x; y", "\x1b"} {
		if Fit(line) {
			t.Errorf("%q is fit", line)
		}
	}
	for _, line := range []string{"# stop all; then go on, please", "etcdctl member promote ID   # ask the leader", "sha256sum -c manifest.txt"} {
		if !Fit(line) {
			t.Errorf("%q is not fit", line)
		}
	}
}
