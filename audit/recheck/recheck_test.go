// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// vectors returns the inputs of the published vectors of one reader, by their directories' names.
func vectors(t testing.TB, pattern string) map[string][]byte {
	names, err := filepath.Glob("../../tests/vectors/" + pattern)
	if err != nil || len(names) == 0 {
		t.Fatal("no vectors: ", err)
	}
	found := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found[filepath.Base(filepath.Dir(name))] = data
	}
	return found
}

// Each record of the vectors is read or refused as it says.
func TestRecordVectors(t *testing.T) {
	for name, line := range vectors(t, "record_*/input.json") {
		var r record
		if err := r.read(line); (err != nil) != strings.HasSuffix(name, "_fail") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each line of a file that somebody else has judged, a letter and the length before each, is a
// record or not, as it says there.
func TestLinesJudgedElsewhere(t *testing.T) {
	name := os.Getenv("TIBET_NC_LINES")
	if name == "" {
		t.Skip("there are none")
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		said, rest, _ := bytes.Cut(data, []byte("\n"))
		length, err := strconv.Atoi(string(said[1:]))
		if err != nil {
			t.Fatal(err)
		}
		var r record
		if err := r.read(rest[:length]); (err == nil) != (said[0] == 'g') {
			t.Fatalf("%s: %q: %v", said, rest[:length], err)
		}
		data = rest[length:]
	}
}

// Any bytes give a record or an error; a record is one JSON object, its names sorted, each once.
func FuzzRead(f *testing.F) {
	for _, line := range vectors(f, "record_*/input.json") {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var r record
		if r.read(line) != nil {
			return
		}
		var object map[string]any
		if err := json.Unmarshal(line, &object); err != nil {
			t.Fatal(err)
		}
		names := []string{}
		for i, f := range r.kind.fields {
			if r.values[i] != nil {
				names = append(names, f.name)
			}
		}
		if !slices.IsSorted(names) || len(names) != len(object) || object["kind"] != r.kind.name {
			t.Fatal(names, object)
		}
		for _, f := range r.kind.fields {
			if said, is := object[f.name].(string); is && said != r.text(f.name) {
				t.Fatalf("%q is not %q", r.text(f.name), said)
			}
		}
		signed(&r, make([]byte, 32))
	})
}

// Any text is a note or an error; a note that opens says what was signed.
func FuzzNote(f *testing.F) {
	key, err := readKey("0dc6bd2248242823abec4d241437d0495371e8392e8996fbfef4f44b47029bb0")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range vectors(f, "record_checkpoint/input.json") {
		var r record
		if err := r.read(line); err != nil {
			f.Fatal(err)
		}
		f.Add(r.text("note"), "did:jis:e39a49f43c835e4e")
	}
	f.Fuzz(func(t *testing.T, note, name string) {
		said, err := openNote(note, name, key)
		if err == nil && !strings.HasPrefix(note, said+"\n") {
			t.Fatalf("%q does not begin with %q", note, said)
		}
		readCheckpoint(note)
	})
}

// Any lines give a verdict: the chain as it is in the vectors, and whatever becomes of it.
func FuzzChain(f *testing.F) {
	for _, data := range vectors(f, "chain_*/input.jsonl") {
		f.Add(data, false)
		f.Add(data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, fast bool) {
		depth := signatures
		if fast {
			depth = linksOnly
		}
		c := newChain(nil, depth, nil)
		for line := range strings.SplitSeq(string(data), "\n") {
			if _, err := c.take([]byte("\x00" + line)); err != nil {
				break
			}
		}
		c.end()
	})
}

// A chain by a later key leads to the record that this key has signed, or is no good.
func TestLaterKeysRecord(t *testing.T) {
	for name, data := range vectors(t, "chain_*/input.jsonl") {
		if strings.HasSuffix(name, "_fail") || len(data) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
		through := func(signed head) *fault {
			c := newChain(nil, signatures, nil)
			c.signed = signed
			for _, line := range lines {
				if _, wrong := c.take([]byte("\x00" + line)); wrong != nil {
					t.Fatalf("%s: %v", name, wrong)
				}
				c.recall()
			}
			return c.end()
		}
		last := uint64(len(lines) - 1)
		sum := sha256.Sum256([]byte(lines[last]))
		digits := hex.EncodeToString(sum[:])
		if wrong := through(head{record: last, digits: digits}); wrong != nil {
			t.Errorf("%s: %v", name, wrong)
		}
		for _, other := range []head{{record: last, digits: "00"}, {record: last + 1, digits: digits}} {
			if through(other) == nil {
				t.Errorf("%s: good without %v", name, other)
			}
		}
	}
}
