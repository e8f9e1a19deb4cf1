package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
)

// Volume is a FAT32 file system that is being read. Whatever is in it, reading
// ends and takes bounded memory; go-diskfs, in contrast, follows a chain of
// clusters that leads back into itself for ever.
type Volume struct {
	// Label is the label in the boot sector, without the spaces at its end.
	Label string
	// ID is the volume's serial number.
	ID uint32

	r                  io.ReaderAt
	clusterSize        int64
	tableStart         int64 // of the first FAT, in bytes
	dataStart          int64 // of cluster 2, in bytes
	clusters           uint32
	rootCluster        uint32
	window             [4096]byte // of the FAT
	windowAt, windowTo int64
	dirsLeft           int64 // bytes of directories that may still be read
}

// Entry is a file or a directory that was read.
type Entry struct {
	Path    string // slash-separated
	Size    int64  // bytes; 0 for a directory
	IsDir   bool
	cluster uint32
}

// Bounds of what is read.
const (
	maxDirSize = 2 << 20   // bytes, as fatgen103 has it
	maxDirs    = 256 << 20 // bytes of all directories, each time that one is read
	maxDepth   = 32
	maxFiles   = 100_000
)

// Open reads the boot sector of a volume of size bytes. It is safe for one
// goroutine at a time.
func Open(r io.ReaderAt, size int64) (*Volume, error) {
	v := &Volume{r: r, windowAt: -1, dirsLeft: maxDirs}
	if err := v.readBootSector(size); err != nil {
		return nil, fmt.Errorf("reading a FAT32 file system: %w", err)
	}
	return v, nil
}

// readBootSector reads the fields (fatgen103, "Boot Sector and BPB Structure"):
//
//	11  2  bytes per sector        13  1  sectors per cluster
//	14  2  reserved sectors        16  1  number of FATs
//	17  2  root entries, 0         19  2  sectors, 0
//	22  2  sectors per FAT, 0      32  4  sectors
//	36  4  sectors per FAT         44  4  cluster of the root directory
//	67  4  serial number           71  11 label
func (v *Volume) readBootSector(size int64) error {
	var b [512]byte
	if n, err := v.r.ReadAt(b[:], 0); n < len(b) {
		return fmt.Errorf("reading the boot sector: %w", err)
	}
	le := binary.LittleEndian
	sector := int64(le.Uint16(b[11:]))
	perCluster := int64(b[13])
	sectors, perFAT := int64(le.Uint32(b[32:])), int64(le.Uint32(b[36:]))
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return errors.New("the boot sector has no signature")
	case sector != 512 && sector != 1024 && sector != 2048 && sector != 4096,
		perCluster == 0 || perCluster&(perCluster-1) != 0, b[16] == 0:
		return fmt.Errorf("%d bytes per sector, %d sectors per cluster, %d tables", sector, perCluster, b[16])
	case le.Uint16(b[17:]) != 0 || le.Uint16(b[19:]) != 0 || le.Uint16(b[22:]) != 0:
		return errors.New("it is FAT12 or FAT16")
	case sectors*sector > size:
		return fmt.Errorf("the file system has %d bytes, more than the %d of the volume", sectors*sector, size)
	}
	v.clusterSize = sector * perCluster
	v.tableStart = int64(le.Uint16(b[14:])) * sector
	v.dataStart = v.tableStart + int64(b[16])*perFAT*sector
	count := (sectors*sector - v.dataStart) / v.clusterSize
	if count <= 0 || count+2 > perFAT*sector/4 || count >= 0x0ffffff5 {
		return fmt.Errorf("%d clusters don't fit the table of %d sectors", count, perFAT)
	}
	v.clusters = uint32(count)
	v.rootCluster = le.Uint32(b[44:])
	v.ID = le.Uint32(b[67:])
	v.Label = strings.TrimRight(string(b[71:82]), " \x00")
	return nil
}

// next returns the cluster that follows in a chain; ok is false at its end.
func (v *Volume) next(cluster uint32) (next uint32, ok bool, err error) {
	at := v.tableStart + int64(cluster)*4
	if v.windowAt < 0 || at < v.windowAt || at+4 > v.windowTo {
		v.windowAt = at
		n, err := v.r.ReadAt(v.window[:], at)
		if n < 4 {
			v.windowAt = -1
			return 0, false, fmt.Errorf("reading the file allocation table: %w", err)
		}
		v.windowTo = at + int64(n)
	}
	next = binary.LittleEndian.Uint32(v.window[at-v.windowAt:]) & 0x0fffffff
	return next, next < 0x0ffffff8, nil
}

// run is a part of a file whose clusters lie side by side.
type run struct{ start, size int64 } // in bytes, on the volume

// chain returns where the first size bytes of a chain are. A chain that is
// longer does no harm, one that is shorter is an error unless short is set.
func (v *Volume) chain(cluster uint32, size int64, short bool) ([]run, error) {
	var runs []run
	for got := int64(0); got < size; {
		if cluster < 2 || cluster-2 >= v.clusters {
			return nil, fmt.Errorf("cluster %d is not one of %d", cluster, v.clusters)
		}
		start := v.dataStart + int64(cluster-2)*v.clusterSize
		if n := len(runs); n > 0 && runs[n-1].start+runs[n-1].size == start {
			runs[n-1].size += v.clusterSize
		} else {
			runs = append(runs, run{start, v.clusterSize})
		}
		got += v.clusterSize
		next, ok, err := v.next(cluster)
		if err != nil {
			return nil, err
		}
		if !ok {
			if got < size && !short {
				return nil, fmt.Errorf("its clusters hold %d of %d bytes", got, size)
			}
			break
		}
		cluster = next
	}
	return runs, nil
}

// Files returns all files and directories, each directory before what it holds,
// in the order in which they are stored.
func (v *Volume) Files() ([]Entry, error) {
	var all []Entry
	if err := v.walk(v.rootCluster, "", 0, &all); err != nil {
		return nil, fmt.Errorf("reading a FAT32 file system: %w", err)
	}
	return all, nil
}

func (v *Volume) walk(cluster uint32, path string, depth int, all *[]Entry) error {
	if depth > maxDepth {
		return fmt.Errorf("directory %q: more than %d levels", path, maxDepth)
	}
	entries, err := v.readDir(cluster)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	for _, e := range entries {
		e.Path = path + e.Path
		if *all = append(*all, e); len(*all) > maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		if !e.IsDir {
			continue
		}
		if err := v.walk(e.cluster, e.Path+"/", depth+1, all); err != nil {
			return err
		}
	}
	return nil
}

// OpenFile opens a file by its path, without regard to case. A missing file is
// an error that matches fs.ErrNotExist.
func (v *Volume) OpenFile(path string) (*io.SectionReader, error) {
	cluster := v.rootCluster
	names := strings.Split(path, "/")
	for i, name := range names {
		entries, err := v.readDir(cluster)
		if err != nil {
			return nil, fmt.Errorf("opening %q: %w", path, err)
		}
		e, ok := find(entries, name)
		if !ok || e.IsDir == (i == len(names)-1) {
			return nil, fmt.Errorf("opening %q: %w", path, fs.ErrNotExist)
		}
		if !e.IsDir {
			return v.open(path, e)
		}
		cluster = e.cluster
	}
	return nil, fmt.Errorf("opening %q: %w", path, fs.ErrNotExist)
}

func find(entries []Entry, name string) (Entry, bool) {
	for _, e := range entries {
		if strings.EqualFold(e.Path, name) {
			return e, true
		}
	}
	return Entry{}, false
}

func (v *Volume) open(path string, e Entry) (*io.SectionReader, error) {
	if e.Size > int64(v.clusters)*v.clusterSize {
		return nil, fmt.Errorf("opening %q: it has %d bytes, more than the file system", path, e.Size)
	}
	runs, err := v.chain(e.cluster, e.Size, false)
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", path, err)
	}
	return io.NewSectionReader(runReader{v.r, runs}, 0, e.Size), nil
}

// runReader reads a file that lies in runs.
type runReader struct {
	r    io.ReaderAt
	runs []run
}

// ReadAt implements io.ReaderAt.
func (f runReader) ReadAt(p []byte, off int64) (n int, err error) {
	for _, run := range f.runs {
		if off >= run.size {
			off -= run.size
			continue
		}
		k := int(min(int64(len(p)-n), run.size-off, math.MaxInt32))
		m, err := f.r.ReadAt(p[n:n+k], run.start+off)
		n += m
		if m < k {
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		off = 0
	}
	return n, io.EOF
}
