// SPDX-License-Identifier: MIT

// From file to file and line to line, up to the first record that is wrong.
//
// Whoever signed a record has signed, through its link, every byte before it. So the signatures of
// a few are enough: the genesis, key records, the notes of checkpoints, the last record of each
// file. Where one of these is wrong, or a record doesn't follow, nothing vouches for the records
// since the one before; then each of their signatures is verified after all, to find the first.

package main

import (
	"crypto/ed25519"
	"fmt"
)

// A spot is a place in the chain: a line of a file, and the number that its record must have.
type spot struct {
	segment  segment
	row      int
	position int64
	record   uint64
}

// A finding is the first record that is wrong.
type finding struct {
	spot
	fault
}

// walk verifies a chain, as far as it goes; it returns the first fault, if there is one, or an
// error when the files can't be read.
func walk(folder *folder, c *chain) (*finding, error) {
	var here spot
	for _, segment := range folder.segments {
		here = spot{segment: segment, record: c.length}
		if segment.first != c.length {
			return &finding{here, fault{"§9", "the segment that begins with this record is missing",
				nameOf(c.length), segment.name}}, nil
		}
		found, err := walkSegment(folder, &here, c)
		if found != nil || err != nil {
			return found, err
		}
	}
	if wrong := c.end(); wrong != nil {
		return &finding{here, *wrong}, nil
	}
	return nil, nil
}

// walkSegment goes on from the beginning of a file to its end, and says where that is.
func walkSegment(folder *folder, here *spot, c *chain) (*finding, error) {
	file, err := folder.open(here.segment.name)
	if err != nil {
		return nil, err
	}
	defer file.close()
	anchor, last := *here, *here // from the anchor on, nothing vouches for the lines yet
	for {
		leaf, err := file.next()
		if err != nil {
			return nil, err
		}
		if leaf == nil {
			break
		}
		vouches, wrong := c.take(leaf)
		if wrong != nil {
			return earliest(file, anchor, &finding{*here, *wrong}, c)
		}
		last = *here
		*here = spot{here.segment, here.row + 1, file.position(), c.length}
		switch vouches {
		case bySignature:
			anchor = *here
		case byNote:
			anchor = last // what vouches for it comes later
		}
		if wrong := c.recall(); wrong != nil {
			return earliest(file, anchor, &finding{last, *wrong}, c)
		}
	}
	if anchor.record < c.length {
		if found, err := unsigned(file, last, c.length, c.key); err != nil {
			return nil, err
		} else if found != nil {
			return earliest(file, anchor, found, c)
		}
	}
	if torn := file.torn(); torn > 0 {
		return &finding{*here, fault{"§9", "the last line is incomplete: a write was cut short, or" +
			" the file was", "a line end", counted(torn, "byte") + " after the last one"}}, nil
	}
	return nil, nil
}

// earliest returns the first record since the anchor that isn't signed, else what was found after.
func earliest(file *lines, anchor spot, found *finding, c *chain) (*finding, error) {
	before, err := unsigned(file, anchor, found.record, c.key)
	if before != nil || err != nil {
		return before, err
	}
	return found, nil
}

// unsigned returns the first record from a spot on, up to a number, that isn't signed with a key.
func unsigned(file *lines, from spot, until uint64, key ed25519.PublicKey) (*finding, error) {
	again := file.again(from.position)
	var r record
	for here := from; here.record < until; here.record++ {
		leaf, err := again.next()
		if err != nil {
			return nil, err
		}
		if leaf == nil {
			return nil, fmt.Errorf("chain/%s: became shorter", here.segment.name)
		}
		if r.read(leaf[1:]) != nil || !signed(&r, key) {
			return &finding{here, *notSigned()}, nil
		}
		here.row++
		here.position = again.position()
	}
	return nil, nil
}
