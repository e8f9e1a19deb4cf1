// Package dm makes read-only device-mapper devices through the ioctls of
// /dev/mapper/control (include/uapi/linux/dm-ioctl.h).
package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Target is the one target that a device consists of.
type Target struct {
	Sectors uint64 // of 512 bytes
	Type    string // "verity"
	Params  string
}

// Sizes and offsets of struct dm_ioctl and struct dm_target_spec, in bytes. They
// are the same on all 64-bit architectures.
const (
	headerSize = 312
	specSize   = 40
	nameSize   = 128 // with the final NUL
	typeSize   = 16

	offDataSize    = 12
	offDataStart   = 16
	offTargetCount = 20
	offFlags       = 28
	offDev         = 40
	offName        = 48
)

// bufferSize is the room that requests have for the kernel's answer.
const bufferSize = 4096

// request encodes a struct dm_ioctl for a named device, followed by a struct
// dm_target_spec and its parameters if there is a target:
//
//	0   12  version: 4, 0, 0, the oldest interface that has what is used here
//	12  4   size of the buffer
//	16  4   offset of the target specification
//	20  4   number of targets
//	28  4   flags
//	48  128 name
//
//	0   8   first sector, 0
//	8   8   sectors
//	20  4   offset of the next specification, 0 for the last
//	24  16  type
//	40      parameters, NUL-terminated
//
// Integers are in the CPU's byte order, little-endian on all CPUs that init is
// built for.
func request(name string, flags uint32, target *Target) ([]byte, error) {
	if name == "" || len(name) >= nameSize {
		return nil, fmt.Errorf("%q can't be the name of a device", name)
	}
	b := make([]byte, bufferSize)
	le := binary.LittleEndian
	le.PutUint32(b, 4)
	le.PutUint32(b[offDataSize:], bufferSize)
	le.PutUint32(b[offDataStart:], headerSize)
	le.PutUint32(b[offFlags:], flags)
	copy(b[offName:], name)
	if target == nil {
		return b, nil
	}
	if len(target.Type) >= typeSize || len(target.Params) >= bufferSize-headerSize-specSize {
		return nil, fmt.Errorf("target %q is too long", target.Type)
	}
	le.PutUint32(b[offTargetCount:], 1)
	spec := b[headerSize:]
	le.PutUint64(spec[8:], target.Sectors)
	copy(spec[24:], target.Type)
	copy(spec[specSize:], target.Params)
	return b, nil
}

// minor returns the minor number of the device that an answer is about. Dev is
// in the kernel's "huge" encoding: the minor's bits are 0-7 and 20-31
// (huge_encode_dev of include/linux/kdev_t.h).
func minor(answer []byte) uint32 {
	dev := binary.LittleEndian.Uint64(answer[offDev:])
	return uint32(dev&0xff | dev>>12&0xfff00)
}

var errAnswer = errors.New("the kernel's answer can't be read")

// status returns the text of the first target in an answer to DM_TABLE_STATUS.
func status(answer []byte) (string, error) {
	if len(answer) < headerSize {
		return "", errAnswer
	}
	start := binary.LittleEndian.Uint32(answer[offDataStart:])
	count := binary.LittleEndian.Uint32(answer[offTargetCount:])
	if count < 1 || int64(start)+specSize > int64(len(answer)) {
		return "", errAnswer
	}
	text, _, ok := bytes.Cut(answer[start+specSize:], []byte{0})
	if !ok {
		return "", errAnswer
	}
	return string(text), nil
}
