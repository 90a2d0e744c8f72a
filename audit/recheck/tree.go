// SPDX-License-Identifier: MIT

package main

import "crypto/sha256"

type digest = [sha256.Size]byte

// A tree is that of RFC 6962, §2.1, over leaves which come one after the other. It keeps one
// digest for each bit of its size that is set: the root of the full subtree of that many leaves.
type tree struct {
	size  uint64
	peaks [64]digest
}

func (t *tree) add(leaf digest) {
	level := 0
	for size := t.size; size&1 == 1; size >>= 1 {
		leaf = node(&t.peaks[level], &leaf)
		level++
	}
	t.peaks[level] = leaf
	t.size++
}

func (t *tree) root() digest {
	root, begun := sha256.Sum256(nil), false
	for level := range t.peaks {
		switch {
		case t.size>>level&1 == 0:
		case begun:
			root = node(&t.peaks[level], &root)
		default:
			root, begun = t.peaks[level], true
		}
	}
	return root
}

// leafHash takes 00 ‖ line.
func leafHash(leaf []byte) digest { return sha256.Sum256(leaf) }

func node(left, right *digest) digest {
	var pair [1 + 2*sha256.Size]byte
	pair[0] = 1
	copy(pair[1:], left[:])
	copy(pair[1+sha256.Size:], right[:])
	return sha256.Sum256(pair[:])
}
