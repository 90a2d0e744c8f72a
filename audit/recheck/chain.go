// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A fault is why a record doesn't follow: the rule of the SPEC, and what was expected and found.
type fault struct {
	rule            string
	reason          string
	expected, found string
}

// A head is what somebody holds of a record: its digest, or the first digits of it, or the root in
// it if it is a checkpoint.
type head struct {
	record uint64
	digits string
	root   bool
}

// A depth is how much is checked of each record.
type depth int

const (
	linksOnly  depth = iota // of all but the anchors, the number and the link
	records                 // the form, and that commands end once
	signatures              // each one's own signature as well
)

// A vouching is how a record vouches for others.
type vouching int

const (
	none        vouching = iota
	byNote               // for those before it, by its note
	bySignature          // for itself as well
)

// A chain is what was verified so far (SPEC §7).
type chain struct {
	key    ed25519.PublicKey // nil as long as none is known
	first  ed25519.PublicKey // the one that the chain began with
	depth  depth
	held   []head // what is held of records from here on, in their order
	signed head   // the record that a later key given has signed, until the chain has led to it
	length uint64
	head   [2 * sha256.Size]byte // of the last line, in hexadecimal
	origin string
	noted  checkpoint // what the latest checkpoint says
	tree   tree
	open   map[uint64][32]byte // commands that have begun, with their runs
	left   map[uint64][32]byte // commands that left something running
	record record
	digits [20]byte
}

func newChain(key ed25519.PublicKey, depth depth, held []head) *chain {
	c := &chain{key: key, depth: depth, held: slices.Clone(held)}
	slices.SortFunc(c.held, func(a, b head) int { return cmp.Compare(a.record, b.record) })
	copy(c.head[:], strings.Repeat("0", len(c.head)))
	c.open, c.left = map[uint64][32]byte{}, map[uint64][32]byte{}
	return c
}

// take checks a line, given as 00 ‖ line, by the steps of SPEC §7, and tells whether it vouches for
// others; after a fault there is no going on.
func (c *chain) take(leaf []byte) (vouching, *fault) {
	line := leaf[1:]
	vouches := none
	if c.depth != linksOnly || !c.follows(line) {
		var wrong *fault
		if vouches, wrong = c.check(line); wrong != nil {
			return none, wrong
		}
	}
	sum := sha256.Sum256(line)
	hex.Encode(c.head[:], sum[:])
	c.tree.add(leafHash(leaf))
	c.length++
	return vouches, nil
}

var (
	prevName = []byte(`prev":"`)
	seqName  = []byte(`seq":`)
)

// follows tells whether a line that is no anchor has the number and the link that it must have, at
// first sight: in a record in its one form each of these names stands once, in this order. Whether
// it is one isn't asked; any line that doesn't follow is read whole.
func (c *chain) follows(line []byte) bool {
	if c.length == 0 || len(line) > recordBytes {
		return false
	}
	_, rest, named := bytes.Cut(line, kindName)
	if !named || len(rest) == 0 || rest[0] == 'c' || rest[0] == 'g' || rest[0] == 'k' {
		return false // a checkpoint, the genesis, a key
	}
	_, rest, linked := bytes.Cut(rest, prevName)
	if !linked || len(rest) < len(c.head) || string(rest[:len(c.head)]) != string(c.head[:]) {
		return false
	}
	_, rest, numbered := bytes.Cut(rest, seqName)
	wanted := strconv.AppendUint(c.digits[:0], c.length, 10)
	return numbered && len(rest) > len(wanted) && rest[len(wanted)] == ',' &&
		string(rest[:len(wanted)]) == string(wanted)
}

// check is what is asked of one record by itself and those before it: steps 1 to 8.
func (c *chain) check(line []byte) (vouching, *fault) {
	r := &c.record
	if err := r.read(line); err != nil { // 1, 2
		return none, &fault{"§7, step 1 or 2", "not a record: " + err.Error(), "", ""}
	}
	if seq := r.seq(); seq != c.length { // 3: dropped, inserted, doubled or moved
		return none, differs(3, "wrong number", c.length, seq)
	}
	if prev := r.prev(); string(prev) != string(c.head[:]) { // 4: altered before this one
		return none, differs(4, "not linked to the record before", string(c.head[:]), string(prev))
	}
	if wrong := c.begin(r); wrong != nil { // 5
		return none, wrong
	}
	vouches := none
	if c.depth == signatures || r.kind.name == "genesis" || r.kind.name == "key" {
		if !signed(r, c.key) { // 6: altered, or written by another
			return none, notSigned()
		}
		vouches = bySignature
	}
	if c.depth != linksOnly {
		if wrong := c.follow(r); wrong != nil { // 7
			return none, wrong
		}
	}
	switch r.kind.name {
	case "checkpoint": // 8
		if wrong := c.compare(r); wrong != nil {
			return none, wrong
		}
		vouches = max(vouches, byNote)
	case "key": // 5
		key, err := readKey(string(r.value("key")))
		if err != nil {
			return none, &fault{"§7, step 5", "the new key: " + err.Error(), "", ""}
		}
		c.key = key
	}
	return vouches, nil
}

// begin is step 5: the first record is the genesis, and only that, and it names the key we expect.
func (c *chain) begin(r *record) *fault {
	if (r.kind.name == "genesis") != (c.length == 0) {
		return &fault{"§7, step 5", "the genesis is the first record, and only that", "", ""}
	}
	if c.length > 0 {
		return nil
	}
	if format := r.number("format"); format != 1 {
		return differs(5, "another format", 1, format)
	}
	key, err := readKey(string(r.value("key")))
	if err != nil {
		return &fault{"§7, step 5", err.Error(), "", ""}
	}
	if c.key != nil && !c.key.Equal(key) {
		return differs(5, "another executor's chain", hex.EncodeToString(c.key), hex.EncodeToString(key))
	}
	c.key, c.first, c.origin = key, key, r.text("executor")
	return nil
}

// follow is step 7: a command ends once, and only one that began; so does what it left running.
func (c *chain) follow(r *record) *fault {
	var run [32]byte
	copy(run[:], r.value("run"))
	from := c.open
	switch r.kind.name {
	case "intent":
		c.open[c.length] = run
		return nil
	case "remainder":
		from = c.left
	case "outcome", "aborted":
	default:
		return nil
	}
	intent := r.number("intent")
	began, known := from[intent]
	if !known {
		return differs(7, "ends what has not begun, or has ended", "", intent)
	}
	if began != run {
		return differs(7, "ends another run", string(began[:]), string(run[:]))
	}
	delete(from, intent)
	if r.kind.name == "outcome" && r.number("leftover") > 0 {
		c.left[intent] = run
	}
	return nil
}

// compare is step 8: a checkpoint is of all lines before it, and its note says the same.
func (c *chain) compare(r *record) *fault {
	if size := r.number("size"); size != c.length {
		return differs(8, "a checkpoint of another size", c.length, size)
	}
	root := c.tree.root()
	if found := string(r.value("root")); found != hex.EncodeToString(root[:]) {
		return differs(8, "a checkpoint of another root", hex.EncodeToString(root[:]), found)
	}
	said, err := openNote(r.text("note"), c.origin, c.key)
	if err != nil {
		return &fault{"§7, step 8", "the checkpoint's note: " + err.Error(), "", ""}
	}
	noted, err := readCheckpoint(said)
	if err != nil {
		return &fault{"§7, step 8", "the checkpoint's note: " + err.Error(), "", ""}
	}
	if noted.origin != c.origin || noted.size != c.length || string(noted.root) != string(root[:]) {
		return &fault{"§7, step 8", "the checkpoint's note says something else", "", ""}
	}
	c.noted = noted
	return nil
}

// recall is step 9, for the record that was taken last: it is the one that somebody holds.
func (c *chain) recall() *fault {
	if c.signed.record+1 == c.length && c.signed.digits == string(c.head[:]) {
		c.signed = head{}
	}
	for len(c.held) > 0 && c.held[0].record+1 == c.length {
		held, found := c.held[0], string(c.head[:])
		c.held = c.held[1:]
		if held.root {
			found = "no checkpoint"
			if c.noted.size == held.record {
				found = hex.EncodeToString(c.noted.root)
			}
		}
		if !strings.HasPrefix(found, held.digits) {
			return differs(9, "not the record that is held", held.digits, found)
		}
	}
	return nil
}

// end is step 9, for the records that the chain doesn't reach, and says that there has to be one.
func (c *chain) end() *fault {
	if len(c.held) > 0 {
		return differs(9, "the chain does not reach a record that is held",
			fmt.Sprintf("%d:%s", c.held[0].record, c.held[0].digits),
			"the end after "+counted(c.length, "record"))
	}
	if c.length == 0 {
		return &fault{"§7, step 5", "the chain is empty", "a genesis record", ""}
	}
	if c.signed.record > 0 {
		return &fault{"§7, step 5", "the chain does not lead to the record that the key given has signed",
			fmt.Sprintf("%d:%s", c.signed.record, c.signed.digits), ""}
	}
	return nil
}

func notSigned() *fault {
	return &fault{"§7, step 6", "the signature does not verify", "", ""}
}

func differs(step int, reason string, expected, found any) *fault {
	return &fault{fmt.Sprintf("§7, step %d", step), reason, fmt.Sprint(expected), fmt.Sprint(found)}
}
