// Package spelling compares words that people have typed with those that exist.
package spelling

// Distance returns the number of letters that are missing, superfluous, wrong or
// swapped with their neighbour in one of two words.
func Distance(from, to string) int {
	before, last, row := make([]int, len(to)+1), make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(from) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(to) {
			replaced := last[j]
			if from[i] != to[j] {
				replaced++
			}
			row[j+1] = min(replaced, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && from[i] == to[j-1] && from[i-1] == to[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(to)]
}
