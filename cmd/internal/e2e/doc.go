// Package e2e holds no program: its tests drive bootsmith as its users do and
// judge what comes out with other people's programs. They cover what a single
// package can't show: the artifacts of a whole build under foreign readers, the
// end of every kind of failure, reproducibility across hosts, the memory that a
// build takes, and who may import what.
package e2e
