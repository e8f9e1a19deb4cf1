package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// Reader is the virtual disk of an image. It takes bounded memory: the L1
// table, and some clusters that were read last.
type Reader struct {
	// Version and ClusterSize are the header's; ClusterSize is in bytes.
	Version, ClusterSize int

	file     io.ReaderAt
	size     int64 // of the disk
	fileSize int64
	l1       []uint64

	mu       sync.Mutex
	tables   cache[[]uint64]
	clusters cache[[]byte]
	inflater io.ReadCloser
}

// Bounds of what is read, and of what is kept.
const (
	minClusterBits, maxClusterBits = 9, 21
	maxL1                          = 32 << 20 / 8 // entries, QEMU's own limit
	keepTables, keepClusters       = 16, 8

	// Incompatible features (bits of bytes 72 to 79 of the header). Dirty says
	// that refcounts may be wrong, which no reader needs.
	featureDirty = 1 << 0

	zeroCluster = 1 << 0 // in an L2 entry: reads as zeros
	offsetMask  = 0x00fffffffffffe00
)

// ErrFormat is returned for a file that is not a qcow2 image.
var ErrFormat = errors.New("it is not a qcow2 image")

// OpenImage reads the header and the L1 table of an image of size bytes, version
// 2 or 3. Images that need another file, are encrypted, or need a feature that
// is not known are errors; snapshots are ignored.
func OpenImage(file io.ReaderAt, size int64) (*Reader, error) {
	r := &Reader{file: file, fileSize: size}
	if err := r.readHeader(); err != nil {
		return nil, fmt.Errorf("reading a qcow2 image: %w", err)
	}
	r.tables, r.clusters = newCache[[]uint64](keepTables), newCache[[]byte](keepClusters)
	return r, nil
}

// readHeader reads the fields ("Header" in qcow2.txt):
//
//	0   4  "QFI\xfb"               4   4  version
//	8   8  backing file's name     20  4  cluster bits
//	24  8  size of the disk        32  4  encryption
//	36  4  L1 entries              40  8  L1 table
//	72  8  incompatible features   100 4  header length (version 3)
//	104 1  compression type, 0 is deflate
func (r *Reader) readHeader() error {
	var h [112]byte
	n, err := r.file.ReadAt(h[:], 0)
	if n < 72 {
		if err == nil || err == io.EOF {
			err = ErrFormat
		}
		return err
	}
	be := binary.BigEndian
	version, bits := be.Uint32(h[4:]), be.Uint32(h[20:])
	switch {
	case string(h[:4]) != "QFI\xfb":
		return ErrFormat
	case version != 2 && version != 3:
		return fmt.Errorf("version %d: only 2 and 3 are known", version)
	case be.Uint64(h[8:]) != 0:
		return errors.New("it needs a backing file")
	case bits < minClusterBits || bits > maxClusterBits:
		return fmt.Errorf("clusters of 2^%d bytes", bits)
	case be.Uint32(h[32:]) != 0:
		return errors.New("it is encrypted")
	case version == 3 && be.Uint64(h[72:])&^featureDirty != 0:
		return fmt.Errorf("it needs features that are not known (%#x)", be.Uint64(h[72:]))
	case version == 3 && be.Uint32(h[100:]) > 104 && h[104] != 0:
		return fmt.Errorf("compression type %d is not known", h[104])
	}
	r.Version, r.ClusterSize = int(version), 1<<bits
	disk := be.Uint64(h[24:])
	entries := uint64(be.Uint32(h[36:]))
	perEntry := uint64(r.ClusterSize) * uint64(r.ClusterSize/8)
	if entries > maxL1 || disk > entries*perEntry {
		return fmt.Errorf("an L1 table of %d entries for a disk of %d bytes", entries, disk)
	}
	r.size = int64(disk)
	r.l1, err = r.readTable(be.Uint64(h[40:]), int(entries))
	return err
}

// Size returns the size of the virtual disk in bytes.
func (r *Reader) Size() int64 { return r.size }

// readTable reads big-endian numbers.
func (r *Reader) readTable(offset uint64, entries int) ([]uint64, error) {
	if offset > uint64(r.fileSize) || int64(entries)*8 > r.fileSize-int64(offset) {
		return nil, fmt.Errorf("a table of %d entries at byte %d is behind the end of the file", entries, offset)
	}
	b := make([]byte, entries*8)
	if n, err := r.file.ReadAt(b, int64(offset)); n < len(b) {
		return nil, err
	}
	table := make([]uint64, entries)
	for i := range table {
		table[i] = binary.BigEndian.Uint64(b[i*8:])
	}
	return table, nil
}

// ReadAt implements io.ReaderAt; several goroutines may call it.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("reading a qcow2 image: negative offset")
	}
	for n < len(p) {
		if off >= r.size {
			return n, io.EOF
		}
		within := off % int64(r.ClusterSize)
		k := int(min(int64(len(p)-n), int64(r.ClusterSize)-within, r.size-off))
		if err := r.readCluster(p[n:n+k], off/int64(r.ClusterSize), within); err != nil {
			return n, fmt.Errorf("reading byte %d of a qcow2 image: %w", off, err)
		}
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

// readCluster reads bytes of one cluster of the disk.
func (r *Reader) readCluster(p []byte, index, within int64) error {
	entry, err := r.entry(index)
	if err != nil {
		return err
	}
	switch {
	case entry&compressed != 0:
		data, err := r.unpack(entry)
		if err != nil {
			return err
		}
		copy(p, data[within:])
		return nil
	case entry&offsetMask == 0 || r.Version >= 3 && entry&zeroCluster != 0:
		clear(p)
		return nil
	}
	at := int64(entry & offsetMask)
	if at > r.fileSize-int64(r.ClusterSize) && at+within+int64(len(p)) > r.fileSize {
		return io.ErrUnexpectedEOF
	}
	if n, err := r.file.ReadAt(p, at+within); n < len(p) {
		return err
	}
	return nil
}

// entry returns the L2 entry of a cluster of the disk.
func (r *Reader) entry(index int64) (uint64, error) {
	perTable := int64(r.ClusterSize / 8)
	offset := r.l1[index/perTable] & offsetMask
	if offset == 0 {
		return 0, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	table, ok := r.tables.get(offset)
	if !ok {
		var err error
		if table, err = r.readTable(offset, int(perTable)); err != nil {
			return 0, err
		}
		r.tables.put(offset, table)
	}
	return table[index%perTable], nil
}

// unpack returns a compressed cluster ("Compressed Clusters Descriptor").
func (r *Reader) unpack(entry uint64) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if data, ok := r.clusters.get(entry); ok {
		return data, nil
	}
	shift := 62 - (bitsOf(r.ClusterSize) - 8)
	offset := int64(entry & (1<<shift - 1))
	sectors := int64(entry&^(1<<63|compressed)) >> shift
	size := (sectors+1)*512 - offset%512
	data := make([]byte, r.ClusterSize)
	if err := r.inflate(data, io.NewSectionReader(r.file, offset, size)); err != nil {
		return nil, fmt.Errorf("unpacking a cluster: %w", err)
	}
	r.clusters.put(entry, data)
	return data, nil
}

// inflate fills data from a raw deflate stream.
func (r *Reader) inflate(data []byte, packed io.Reader) error {
	if r.inflater == nil {
		r.inflater = flate.NewReader(packed)
	} else if err := r.inflater.(flate.Resetter).Reset(packed, nil); err != nil {
		return err
	}
	_, err := io.ReadFull(r.inflater, data)
	return err
}

func bitsOf(size int) (bits int) {
	for size > 1 {
		size >>= 1
		bits++
	}
	return bits
}
