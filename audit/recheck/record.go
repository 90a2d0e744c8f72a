// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"errors"
	"fmt"
)

const recordBytes = 131072

// A record is one JSON object in exactly one form (SPEC §6; §7, steps 1 and 2).
//
// A line is read from left to right against the table of its kind: each field that has to be there,
// in its order, by its name and type, and no byte besides. What could be read in two ways never
// matches, so there is no need to write it again and compare. The record refers to the line's bytes.
type record struct {
	line             []byte
	kind             *kind
	values           [mostFields][]byte // by their places in the kind's table; nil if absent
	sigBegin, sigEnd int                // where the signature stands, with its name and comma
}

// Within a text, quotation marks are escaped, so that this stands in no text.
var kindName = []byte(`kind":"`)

// read reads a line; after an error the record holds nothing that may be used.
func (r *record) read(line []byte) error {
	if len(line) > recordBytes {
		return fmt.Errorf("over %d bytes", recordBytes)
	}
	r.line, r.kind = line, kindIn(line)
	if r.kind == nil {
		return errors.New("of no known kind")
	}
	at := 0
	for i := range r.kind.fields {
		f := &r.kind.fields[i]
		begin := at + len(f.lead)
		if len(line) < begin || string(line[at:begin]) != f.lead {
			if !f.optional {
				return fmt.Errorf("no canonical JSON with %s in its place", f.name)
			}
			r.values[i] = nil
			continue
		}
		end := f.typ.end(line, begin)
		if end < 0 {
			return fmt.Errorf("what it has as %s can't be that", f.name)
		}
		r.values[i] = line[begin:end]
		if f.name == "sig" {
			r.sigBegin, r.sigEnd = at, end+len(f.typ.close)
		}
		at = end + len(f.typ.close)
	}
	if string(line[at:]) != "}" {
		return errors.New("more than the fields of its kind")
	}
	return nil
}

// kindIn returns the kind that a line seems to be of. Should it not be, it won't match the table.
func kindIn(line []byte) *kind {
	begin := bytes.Index(line, kindName)
	if begin < 0 {
		return nil
	}
	name := line[begin+len(kindName):]
	return kinds[string(name[:max(0, bytes.IndexByte(name, '"'))])]
}

// value returns what stands in a field; nil if the record has none of that name.
func (r *record) value(name string) []byte {
	if at := r.kind.place(name); at >= 0 {
		return r.values[at]
	}
	return nil
}

func (r *record) prev() []byte { return r.values[r.kind.prev] }

func (r *record) seq() uint64 { return integer(r.values[r.kind.seq]) }

// number returns the number in a field of that type.
func (r *record) number(name string) uint64 { return integer(r.value(name)) }

func integer(digits []byte) uint64 {
	var found uint64
	for _, digit := range digits {
		found = 10*found + uint64(digit-'0')
	}
	return found
}

// text returns the text in a field, as it was before it was escaped.
func (r *record) text(name string) string { return unescape(r.value(name)) }
