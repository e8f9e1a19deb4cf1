#!/bin/sh
# The first setup hook; $1 is the root's folder.
set -eu
# mmdebstrap copies these from the build host.
rm -f "$1/etc/hostname" "$1/etc/resolv.conf"
# Debian 12 and Ubuntu 22.04 expect whoever bootstraps them to merge /usr; later
# releases bring these links themselves.
dirs="bin sbin lib"
if [ "$ARCH" = amd64 ]; then
	dirs="$dirs lib64"
fi
for dir in $dirs; do
	mkdir -p "$1/usr/$dir"
	ln -s "usr/$dir" "$1/$dir"
done
