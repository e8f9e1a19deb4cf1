package fat

import "fmt"

// Fixed places, in sectors (fatgen103, "BPB_RsvdSecCnt", "BPB_FSInfo",
// "BPB_BkBootSec").
const (
	reservedSectors = 32
	infoSector      = 1
	backupSector    = 6
)

// minClusters is the least number of clusters of a FAT32 volume: fewer make it
// FAT16, whatever else is written in it. The specification advises to stay 16
// clusters away from the limit, because other implementations count wrongly.
const minClusters = 65525 + 16

// maxClusters leaves out the reserved values above 0x0ffffff6.
const maxClusters = 0x0ffffff5 - rootCluster

// geometry is the division of a volume.
type geometry struct {
	sectors    int64 // of the volume
	perCluster int64 // sectors
	fatSectors int64 // of one FAT
	clusters   int64
}

// clusterSizes is Microsoft's table of default cluster sizes for FAT32 with
// 512-byte sectors: volumes up to limit bytes have perCluster sectors.
var clusterSizes = []struct{ limit, perCluster int64 }{
	{260 * mebibyte, 1},
	{8 << 30, 8},
	{16 << 30, 16},
	{32 << 30, 32},
	{1<<32*sectorSize - 1, 64},
}

// chooseGeometry fits the volume to the configured size, or the smallest size
// to the content.
func chooseGeometry(cfg Config, dirs, leaves []*node) (geometry, error) {
	if cfg.Size < 0 || cfg.Size%sectorSize != 0 || cfg.Free < 0 {
		return geometry{}, fmt.Errorf("laying out a FAT32 volume of %d bytes with %d bytes free: not a multiple of %d or negative",
			cfg.Size, cfg.Free, sectorSize)
	}
	for _, c := range clusterSizes {
		need := contentClusters(c.perCluster, dirs, leaves)
		size := cfg.Size
		if size == 0 {
			size = volumeSize(max(need+ceil(cfg.Free, c.perCluster*sectorSize), minClusters), c.perCluster)
		}
		if size > c.limit {
			continue
		}
		geo := divide(size/sectorSize, c.perCluster)
		switch {
		case geo.clusters < minClusters:
			return geometry{}, fmt.Errorf("laying out a FAT32 volume of %d bytes: the least is %d", size, volumeSize(minClusters, c.perCluster))
		case geo.clusters < need:
			return geometry{}, fmt.Errorf("laying out a FAT32 volume of %d bytes: the files need %d", size, volumeSize(need, c.perCluster))
		case geo.clusters > maxClusters:
			return geometry{}, fmt.Errorf("laying out a FAT32 volume of %d bytes: it has more than %d clusters", size, int64(maxClusters))
		}
		return geo, nil
	}
	return geometry{}, fmt.Errorf("laying out a FAT32 volume: it would be larger than 2 TiB")
}

// divide gives the clusters all sectors that the FATs leave over. The FAT's
// size is the least f with 128*f >= clusters+2, where
// clusters = (sectors - reserved - 2*f) / perCluster.
func divide(sectors, perCluster int64) geometry {
	f := ceil(sectors-reservedSectors+2*perCluster, entriesPerSector*perCluster+2)
	return geometry{
		sectors:    sectors,
		perCluster: perCluster,
		fatSectors: f,
		clusters:   (sectors - reservedSectors - 2*f) / perCluster,
	}
}

// volumeSize is the smallest size in whole MiB with that many clusters.
func volumeSize(clusters, perCluster int64) int64 {
	f := ceil(clusters+rootCluster, entriesPerSector)
	bytes := (reservedSectors + 2*f + clusters*perCluster) * sectorSize
	size := ceil(bytes, mebibyte) * mebibyte
	if divide(size/sectorSize, perCluster).clusters < clusters {
		size += mebibyte // the FATs of the clusters that rounding added
	}
	return size
}

func contentClusters(perCluster int64, dirs, leaves []*node) int64 {
	geo := geometry{perCluster: perCluster}
	n := int64(0)
	for _, d := range dirs {
		n += geo.clustersFor(d.entries() * entrySize)
	}
	for _, f := range leaves {
		n += geo.clustersFor(f.file.Size)
	}
	return n
}

// clustersFor returns the number of clusters that hold n bytes.
func (g geometry) clustersFor(n int64) int64 { return ceil(n, g.perCluster*sectorSize) }

// offset returns where a cluster begins in the volume, in bytes.
func (g geometry) offset(cluster uint32) int64 {
	return (reservedSectors + 2*g.fatSectors + (int64(cluster)-rootCluster)*g.perCluster) * sectorSize
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }
