// Package spell finds what somebody most likely meant.
package spell

import "strings"

// Nearest is the word of a list that is most like the one that was written, or "" if
// none is near: at most two letters differ, or one is the beginning of the other.
func Nearest(written string, list []string) string {
	if written == "" {
		return ""
	}
	best, least := "", 3
	if len(written) < 4 {
		least = 2 // of a short word, two letters are most of it
	}
	for _, w := range list {
		d := distance(strings.ToLower(written), strings.ToLower(w))
		if len(written) > 2 && d >= least && (strings.HasPrefix(w, written) || strings.HasPrefix(written, w) && len(w) > 2) {
			d = least - 1
		}
		if d < least {
			best, least = w, d
		}
	}
	return best
}

// distance is the number of letters that differ (Levenshtein; two that changed places
// count once).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
