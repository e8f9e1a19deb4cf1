package builder

import "github.com/powernode/bootsmith/arch"

// Row is a job of a workflow's matrix: an architecture and what is built for it.
type Row struct {
	Arch     string
	Families []string
}

// Matrix returns a row per architecture of a request, which needs neither cache
// nor network.
func Matrix(r Request) ([]Row, error) {
	picked, err := pickFamilies(r)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, name := range r.architectures() {
		a, err := arch.Lookup(name)
		if err != nil {
			return nil, err
		}
		row := Row{Arch: name}
		for _, f := range builtFamilies(picked, a) {
			row.Families = append(row.Families, f.Name())
		}
		rows = append(rows, row)
	}
	return rows, nil
}
