// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	mostFields     = 20 // an outcome has them all
	mostNotes      = 16
	textCharacters = 1024
	idCharacters   = 255
	nameCharacters = 300
	exactInteger   = 1<<53 - 1
)

// A typ is a type of SPEC §4: what stands before and after a value, and where one ends that begins
// at a place of a line, or -1 if it is none of that type.
type typ struct {
	open, close string
	end         func(line []byte, at int) int
}

var types = map[string]typ{
	"Count":        {"", "", count},
	"Notes":        {"[", "]", notes},
	"Text":         quoted(textEnd),
	"Digest":       quoted(hexOf(64)),
	"Id":           quoted(hexOf(32)),
	"SignatureHex": quoted(hexOf(128)),
	"Time":         quoted(clock),
	"UserId":       quoted(name("@", idCharacters)),
	"RoomId":       quoted(name("!", idCharacters)),
	"EventId":      quoted(name("$", idCharacters)),
	"DeviceId":     quoted(name("", idCharacters)),
	"Actor":        quoted(name("jis:matrix:@", nameCharacters)),
	"Reason":       quoted(oneOf("exited cancelled killed idle timed-out stopped aborted")),
	"Stage":        quoted(oneOf("sender freshness safety chain")),
	"SessionState": quoted(oneOf("opened closed")),
	"SecurityEvent": quoted(oneOf("peer protocol policy replay torn-record erased retention journal" +
		" agent")),
}

// A field is one of a kind of record.
type field struct {
	name     string
	lead     string // all bytes from the end of the field before to the value
	typ      typ
	optional bool
}

type kind struct {
	name   string
	fields []field // sorted by name, as they stand in a line
	// The places of two that are asked for in every line.
	prev, seq int
}

// The tables of SPEC §6; a question mark stands for "optional". Every record has these as well.
const every = "kind:Kind prev:Digest seq:Count sig:SignatureHex? time:Time "

var kinds = makeKinds(map[string]string{
	"genesis": "format:Count host:Text executor:Text key:Digest agent:Text agent_key:Digest" +
		" version:Text",
	"intent": "run:Id room:RoomId event:EventId sender:UserId actor:Actor device:DeviceId" +
		" session:Text ciphertext:Digest command:Digest request:Digest",
	"outcome": "intent:Count run:Id session:Text reason:Reason duration_ms:Count" +
		" output_bytes:Count output_sha256:Digest recorded_bytes:Count recording:Text" +
		" leftover:Count token:Text token_sha256:Digest exit:Count? signal:Count? notes:Notes?",
	"aborted": "intent:Count run:Id detail:Text",
	"remainder": "intent:Count run:Id session:Text reason:Reason duration_ms:Count" +
		" output_bytes:Count output_sha256:Digest recorded_bytes:Count recording:Text" +
		" killed:Count notes:Notes?",
	"refusal": "room:RoomId event:EventId sender:UserId actor:Actor stage:Stage detail:Text" +
		" device:DeviceId? family:Text? command:Digest?",
	"security": "what:SecurityEvent detail:Text room:RoomId? event:EventId? sender:UserId?" +
		" uid:Count? number:Count?",
	"session": "session:Text state:SessionState room:RoomId sender:UserId actor:Actor" +
		" detail:Text",
	"checkpoint": "size:Count root:Digest note:Text",
	"key":        "executor:Text key:Digest",
})

func makeKinds(tables map[string]string) map[string]*kind {
	made := map[string]*kind{}
	for name, table := range tables {
		entries := strings.Fields(every + table)
		slices.Sort(entries)
		found := &kind{name: name}
		before := "{"
		for _, entry := range entries {
			name, typeName, _ := strings.Cut(entry, ":")
			typeName, optional := strings.CutSuffix(typeName, "?")
			typ := types[typeName]
			if typeName == "Kind" {
				typ = quoted(oneOf(found.name))
			}
			lead := before + `"` + name + `":` + typ.open
			found.fields = append(found.fields, field{name, lead, typ, optional})
			before = ","
		}
		found.prev, found.seq = found.place("prev"), found.place("seq")
		made[name] = found
	}
	return made
}

// place returns where a field is in the table, or -1.
func (k *kind) place(name string) int {
	return slices.IndexFunc(k.fields, func(f field) bool { return f.name == name })
}

func quoted(end func(line []byte, at int) int) typ {
	return typ{`"`, `"`, func(line []byte, at int) int {
		at = end(line, at)
		if at < 0 || at >= len(line) || line[at] != '"' {
			return -1
		}
		return at
	}}
}

func count(line []byte, at int) int {
	const largest = "9007199254740991"
	end := at
	for end < len(line) && line[end]-'0' <= 9 {
		end++
	}
	digits := line[at:end]
	switch {
	case len(digits) == 0, len(digits) > 1 && digits[0] == '0', len(digits) > len(largest),
		len(digits) == len(largest) && string(digits) > largest:
		return -1
	}
	return end
}

func hexOf(length int) func(line []byte, at int) int {
	return func(line []byte, at int) int {
		end := at + length
		if end > len(line) || !areHex(line[at:end]) {
			return -1
		}
		return end
	}
}

func clock(line []byte, at int) int {
	const like = "0000-00-00T00:00:00.000000Z"
	end := at + len(like)
	if end > len(line) {
		return -1
	}
	for i, c := range line[at:end] {
		if digit := c-'0' <= 9; like[i] == '0' && !digit || like[i] != '0' && c != like[i] {
			return -1
		}
	}
	return end
}

func textEnd(line []byte, at int) int {
	end, plain := scan(line, at)
	if end-at > textCharacters && (plain || characters(line[at:end]) > textCharacters) {
		return -1
	}
	return end
}

func notes(line []byte, at int) int {
	for range mostNotes {
		if at >= len(line) || line[at] != '"' {
			return -1
		}
		end := textEnd(line, at+1)
		if end < 0 || end+1 >= len(line) {
			return -1
		}
		if line[end+1] == ']' {
			return end + 1
		}
		if line[end+1] != ',' {
			return -1
		}
		at = end + 2
	}
	return -1
}

func name(begin string, most int) func(line []byte, at int) int {
	return func(line []byte, at int) int {
		end, plain := scan(line, at)
		if end <= at+len(begin) || string(line[at:at+len(begin)]) != begin {
			return -1
		}
		found := line[at:end]
		switch {
		case !plain:
			if characters(found) > most || strings.ContainsFunc(unescape(found), isReserved) {
				return -1
			}
		case len(found) > most, bytes.IndexByte(found, ' ') >= 0, bytes.IndexByte(found, 0x7f) >= 0:
			return -1
		}
		return end
	}
}

func isReserved(r rune) bool { return r <= ' ' || r >= 0x7f && r <= 0x9f || unicode.IsSpace(r) }

func characters(value []byte) int { return utf8.RuneCountInString(unescape(value)) }

func oneOf(values string) func(line []byte, at int) int {
	known := strings.Fields(values)
	return func(line []byte, at int) int {
		length := bytes.IndexByte(line[at:], '"')
		for _, value := range known {
			if len(value) == length && string(line[at:at+length]) == value {
				return at + length
			}
		}
		return -1
	}
}
