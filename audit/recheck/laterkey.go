// SPDX-License-Identifier: MIT

// Which key a chain began with, for a reader who holds a later one (SPEC §7, step 5).
//
// Each key record is signed with the key before it and names the next. Anybody can name a key; so
// the record after the one that names it has to be signed with it, which links to every line before.

package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
)

// keyRecord is what stands in key records only: within a text, quotation marks are escaped.
var keyRecord = []byte(`"kind":"key"`)

var errUnused = errors.New("--key: the chain goes on with this key, but nothing is signed with it" +
	" yet; give the key before")

// A keySearch goes through a chain until it knows whether a key given is one of its later ones.
type keySearch struct {
	given, now ed25519.PublicKey
	first      ed25519.PublicKey // the one to verify the chain with
	since      head              // the record from which on it is the one given; none if that is the first
	record     record
}

// firstKey returns the key to verify a chain with: the one given, unless that is a later one of it,
// and then also the record from which on it is that one. The chain has to lead to that very record:
// the files can be others by then.
func firstKey(folder *folder, given ed25519.PublicKey) (ed25519.PublicKey, head, error) {
	s := keySearch{given: given, first: given}
	for _, segment := range folder.segments {
		if done, err := s.through(folder, segment); done || err != nil {
			return s.first, s.since, err
		}
	}
	if s.now.Equal(given) {
		return nil, head{}, errUnused
	}
	return given, head{}, nil
}

// through goes through one file, and tells whether the search is over.
func (s *keySearch) through(folder *folder, segment segment) (bool, error) {
	file, err := folder.open(segment.name)
	if err != nil {
		return false, err
	}
	defer file.close()
	for number := segment.first; ; number++ {
		leaf, err := file.next()
		if leaf == nil || err != nil {
			return false, err
		}
		if s.take(number, leaf[1:]) {
			return true, nil
		}
	}
}

// take looks at a line, and tells whether the search is over.
func (s *keySearch) take(number uint64, line []byte) bool {
	r := &s.record
	switch {
	case number == 0:
		if r.read(line) != nil || r.kind.name != "genesis" || !s.names(r) || s.now.Equal(s.given) {
			return true
		}
		s.first = s.now
	case s.now.Equal(s.given):
		if r.read(line) != nil || !signed(r, s.given) {
			s.first = s.given
		} else {
			sum := sha256.Sum256(line)
			s.since = head{record: number, digits: hex.EncodeToString(sum[:])}
		}
		return true
	case bytes.Contains(line, keyRecord) && r.read(line) == nil && r.kind.name == "key":
		if s.now == nil || !signed(r, s.now) || !s.names(r) {
			s.first = s.given
			return true
		}
	}
	return false
}

// names takes the key that a record names, and tells whether it is a good one.
func (s *keySearch) names(r *record) bool {
	key, err := readKey(string(r.value("key")))
	s.now = key
	return err == nil
}
