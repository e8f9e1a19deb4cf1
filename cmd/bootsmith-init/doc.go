// Command bootsmith-init is PID 1 of Bootsmith's initramfs. It finds the root
// image, has dm-verity check every block of it, compares the fs-verity digest of
// the composefs image inside, mounts both, and starts the root's own init. What
// doesn't have the digests of the kernel command line is never mounted as root:
// the boot stops with one line that begins with "bootsmith-init: FATAL: ".
//
// # Kernel parameters
//
//	composefs=<hex>            fs-verity digest of root.cfs; required
//	bootsmith.roothash=<hex>   dm-verity root hash of root.img; required
//	bootsmith.rootblocks=<n>   data blocks (4096 bytes) of root.img; required
//	init=<path>                program to start, else /sbin/init, /usr/sbin/init,
//	                           /usr/lib/systemd/systemd, /lib/systemd/systemd
//	bootsmith.verify=full      read every block of root.img before it is used;
//	                           without it blocks are checked when they are read
//	bootsmith.persist=<name>   partition that keeps what is written to /etc and /var
//	bootsmith.halt=<how>       after a failure, and 10 seconds for reading why:
//	                           poweroff (the default), reboot, or wait for ever
//	bootsmith.debug            tell every step
//
// # The initramfs
//
// Init is /init. /lib/bootsmith/modules names the kernel modules, one absolute
// path a line, in load order: loop, erofs, overlay, dm_mod, dm_verity with
// sha256, isofs, and the drivers of disks; without the list all of these have to
// be built in. /dev/null is an empty regular file: if the kernel finds no console
// it starts init without standard input and outputs, and Go's runtime ends a
// program whose missing ones it can't open there (runtime.checkfds).
//
// # The root image
//
// root.img is an EROFS file system of rootblocks blocks that holds /root.cfs and
// /objects, a block with a dm-verity superblock, and the hash tree, top block
// first, without salt. A place holds the image if SHA-256 of the tree's top block
// is bootsmith.roothash. Looked at are, in this order and again for 30 seconds:
// the file /root.img of the initramfs; all partitions; all whole devices; the
// file /root.img of ISO 9660 file systems on any of these. Partition types are
// not asked for: the hash says more.
//
// # The root
//
// The root is an overlay of root.cfs with the objects as data-only lower layer
// (Documentation/filesystems/overlayfs.rst), read-only. /etc and /var are
// overlays of the same layers with an upper layer in memory; /tmp and /run are in
// memory. What backs the root is mounted below /run/bootsmith for as long as init
// runs, and detached then: overlays hold their layers. The digest of the root is
// the source of "/" in /proc/mounts, "composefs:<hex>".
//
// # The persist partition
//
// With bootsmith.persist=<name>, the upper layers of /etc and /var are on a
// partition of that name in the GPT, or on a device with an ext4 file system of
// that label, which stays mounted on /run/bootsmith/persist. It is taken from the
// disk that the root is on, and if that has none, from another one. A root on a
// partition must have it, and the boot stops without; a root from an ISO or from
// memory does without it, after a message. A file system that can't be mounted
// stops the boot in any case. What was written is kept when the root changes: a
// file that was written hides the new root's, all others are the new root's. No
// digest covers what is on the partition.
package main
