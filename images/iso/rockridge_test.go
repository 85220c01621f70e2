package iso

// This file reads system use areas entry by entry.

import (
	"encoding/binary"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestSystemUse(t *testing.T) {
	part := func(sig string, flags byte, b ...byte) []byte { return susp(sig, append([]byte{flags}, b...)...) }
	er := func(id string) []byte { return susp("ER", append([]byte{byte(len(id)), 0, 0, 1}, id...)...) }
	type want struct {
		name, target string
		link, rr     bool
		mode         uint32
		child        int64
	}
	for _, tc := range []struct {
		name string
		area []byte
		want want
	}{
		{"nothing", nil, want{}},
		{"name", nm("a"), want{name: "a"}},
		{"name in parts", slices.Concat(part("NM", 1, 'a'), part("NM", 1, 'b'), part("NM", 0, 'c')), want{name: "abc"}},
		{"a second name", slices.Concat(nm("a"), nm("b")), want{name: "a"}},
		{"the name of the directory itself", part("NM", 2, 'a'), want{}},
		{"the name of its parent", part("NM", 4, 'a'), want{}},
		{"name without flags", susp("NM"), want{}},
		{"stop", slices.Concat(susp("ST"), nm("a")), want{}},
		{"padding", slices.Concat(nm("a"), []byte{0, 0, 0, 0}, nm("b")), want{name: "a"}},
		{"entry longer than the area", []byte{'N', 'M', 9, 1, 0, 'a'}, want{}},
		{"entry of two bytes", []byte{'N', 'M', 2, 1, 0, 'a'}, want{}},
		{"RR", susp("RR", 0xff), want{rr: true}},
		{"ER 1991", er("RRIP_1991A"), want{rr: true}},
		{"ER P1282", er("IEEE_P1282"), want{rr: true}},
		{"ER 1282", er("IEEE_1282"), want{rr: true}},
		{"ER of something else", er("AAIP_0200"), want{}},
		{"ER cut off", er("RRIP_1991A")[:0], want{}},
		{"ER with a length too long", func() []byte { e := er("RRIP_1991A"); e[4] = 200; return e }(), want{}},
		{"ER of four bytes", susp("ER"), want{}},
		{"PX", px(0o100644), want{rr: true, mode: 0o100644}},
		{"PX of four bytes", susp("PX"), want{}},
		{"CL", cl(99), want{child: 99}},
		{"CL of four bytes", susp("CL"), want{}},
		{"CE of four bytes", slices.Concat(susp("CE"), nm("a")), want{name: "a"}},
		{"link", sl("a", "..", ".", "b"), want{link: true, target: "a/.././b"}},
		{"absolute", sl("/", "a"), want{link: true, target: "/a"}},
		{"the volume's root", part("SL", 0, 0x10, 0, 0, 1, 'a'), want{link: true, target: "/a"}},
		{"the host's name", part("SL", 0, 0x20, 0, 0, 1, 'a'), want{link: true, target: "/a"}},
		{"a component in parts", part("SL", 0, 1, 1, 'a', 0, 1, 'b', 0, 1, 'c'), want{link: true, target: "ab/c"}},
		{"link in parts", slices.Concat(part("SL", 1, 0, 1, 'a', 1, 1, 'b'), part("SL", 0, 0, 1, 'c')), want{link: true, target: "a/bc"}},
		{"a second link", slices.Concat(sl("a"), sl("b")), want{link: true, target: "a"}},
		{"link without flags", susp("SL"), want{}},
		{"component longer than its entry", part("SL", 0, 0, 1, 'a', 0, 9, 'b'), want{link: true, target: "a"}},
	} {
		s := suspReader{m: &Image{}, areas: 1}
		a, err := s.read(tc.area, 0)
		if got := (want{a.name, string(a.target), a.link, a.rockRidge, a.mode, a.child}); err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", tc.name, got, err, tc.want)
		}
	}
}

// SUSP 5.3: where SP stands, and what it says to skip in all other records.
func TestWhereSystemUseBegins(t *testing.T) {
	xa := make([]byte, 14)
	for _, tc := range []struct {
		name string
		root []byte // system use area of the root's first record
		su   []byte // of a file
		want string
	}{
		{"at the start", append(sp(), px(0)...), nm("Name"), "Name"},
		{"after CD-XA", slices.Concat(xa, susp("SP", 0xbe, 0xef, 14), px(0)), append(xa, nm("Name")...), "Name"},
		{"nothing skipped", slices.Concat(xa, sp(), px(0)), append(xa, nm("Name")...), "plain"},
		{"without the check bytes", append(susp("SP", 0, 0, 0), px(0)...), nm("Name"), "plain"},
		{"SUSP without Rock Ridge", sp(), nm("Name"), "plain"},
		{"nowhere", nil, nm("Name"), "plain"},
		{"more skipped than there is", append(susp("SP", 0xbe, 0xef, 200), px(0)...), nm("Name"), "plain"},
	} {
		m := newImg(40)
		b := rec("\x00", rootSector, sectorSize, flagDirectory, tc.root)
		b = append(b, rec("\x01", rootSector, sectorSize, flagDirectory, nil)...)
		clear(m.sector(rootSector))
		copy(m.sector(rootSector), append(b, rec("PLAIN.;1", 30, 1, 0, tc.su)...))
		iso, err := m.open()
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		list, err := iso.ReadDir(".")
		if err != nil || len(list) != 1 || list[0].Name() != tc.want {
			t.Errorf("%s: %v, %v; want %s", tc.name, list, err, tc.want)
		}
	}
}

func TestRecords(t *testing.T) {
	m := newImg(40)
	x := m.file("xattr", 31, "data")
	binary.LittleEndian.PutUint32(x[2:], 30)
	x[1] = 1 // an extended attribute record of one sector stands first
	undated := m.file("undated", 32, "x")
	clear(undated[18:25])
	east := m.file("east", 33, "x")
	copy(east[18:], []byte{124, 5, 6, 7, 8, 9, 8}) // two hours east of Greenwich
	m.dir(rootSector, x, undated, east, link("through", "xattr", "..", "xattr"), link("dir", "."))
	iso, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile(iso, "xattr"); string(b) != "data" {
		t.Errorf("%q, %v", b, err)
	}
	for name, want := range map[string]string{"undated": "1970-01-01 00:00:00", "east": "2024-05-06 05:08:09"} {
		if st, err := iso.Stat(name); err != nil || st.ModTime().Format("2006-01-02 15:04:05") != want {
			t.Errorf("%s: %v, %v; want %s", name, st, err, want)
		}
	}
	if _, err := iso.Open("through"); err == nil || !strings.Contains(err.Error(), "not exist") {
		t.Errorf("a link through a file: %v", err)
	}
	if st, err := iso.Lstat("dir/east"); err != nil || !st.Mode().IsRegular() {
		t.Errorf("Lstat follows all links but the last: %v, %v", st, err)
	}
	_, err = iso.ReadDir("east")
	says(t, err, "not a directory")
	if _, err := iso.ReadLink("east"); err == nil {
		t.Error("a file is read as a link")
	}
}
