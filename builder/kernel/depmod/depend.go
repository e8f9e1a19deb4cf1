package depmod

import (
	"fmt"
	"slices"
)

// dependencies returns for each module the indexes of all that it needs, direct
// or not, so that what needs others comes before them.
func dependencies(modules []Module) ([][]int, error) {
	byName := map[string]int{}
	for i, m := range modules {
		if _, taken := byName[m.Name()]; !taken {
			byName[m.Name()] = i
		}
	}
	direct := make([][]int, len(modules))
	for i, m := range modules {
		for _, name := range m.Depends {
			d, ok := byName[canonical(name)]
			// A kernel's modules may be in several packages, of which the root
			// needn't have all.
			if ok && !slices.Contains(direct[i], d) {
				direct[i] = append(direct[i], d)
			}
		}
	}
	rank, err := ranks(modules, direct)
	if err != nil {
		return nil, err
	}
	all := make([][]int, len(modules))
	for i := range modules {
		seen := map[int]bool{}
		collect(direct, i, seen)
		for d := range seen {
			all[i] = append(all[i], d)
		}
		slices.SortFunc(all[i], func(a, b int) int { return rank[a] - rank[b] })
	}
	return all, nil
}

func collect(direct [][]int, i int, seen map[int]bool) {
	for _, d := range direct[i] {
		if !seen[d] {
			seen[d] = true
			collect(direct, d, seen)
		}
	}
}

// ranks sorts topologically, users before what they use, in the order in which
// depmod does.
func ranks(modules []Module, direct [][]int) ([]int, error) {
	users := make([]int, len(modules))
	for _, list := range direct {
		for _, d := range list {
			users[d]++
		}
	}
	var roots []int
	for i, n := range users {
		if n == 0 {
			roots = append(roots, i)
		}
	}
	rank, done := make([]int, len(modules)), 0
	for len(roots) > 0 {
		i := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		rank[i] = done
		done++
		for _, d := range direct[i] {
			if users[d]--; users[d] == 0 {
				roots = append(roots, d)
			}
		}
	}
	if done != len(modules) {
		for i, n := range users {
			if n > 0 {
				return nil, fmt.Errorf("indexing modules: %s is part of a circle of dependencies", modules[i].Path)
			}
		}
	}
	return rank, nil
}
