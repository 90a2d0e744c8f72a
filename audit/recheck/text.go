// SPDX-License-Identifier: MIT

// JSON's texts, in the one form that RFC 8785 has for each.

package main

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

const (
	eachByte = 0x0101010101010101
	highBits = 0x80 * eachByte
)

// scan returns where a text ends that begins at a place, or -1, and whether it is plain: without
// escapes, and ASCII.
//
// It looks at eight bytes at once. Of those that are a control character, a quotation mark, a
// backslash or no ASCII, the first one has its high bit set in found; later ones may have it for
// nothing, from a borrow.
func scan(line []byte, at int) (int, bool) {
	begin, plain, ascii := at, true, true
	for at < len(line) {
		if len(line)-at >= 8 {
			word := binary.LittleEndian.Uint64(line[at:])
			found := word | (word - ' '*eachByte) |
				((word ^ '"'*eachByte) - eachByte) | ((word ^ '\\'*eachByte) - eachByte)
			if found &= highBits; found == 0 {
				at += 8
				continue
			}
			at += bits.TrailingZeros64(found) / 8
		}
		switch c := line[at]; {
		case c == '"':
			if !ascii && !utf8.Valid(line[begin:at]) {
				return -1, false
			}
			return at, plain
		case c < ' ':
			return -1, false
		case c == '\\':
			length := escapeLength(line[at:])
			if length == 0 {
				return -1, false
			}
			at += length
			plain = false
		default:
			at++
			if c >= utf8.RuneSelf {
				plain, ascii = false, false
			}
		}
	}
	return -1, false
}

var short = map[byte]byte{
	'"': '"', '\\': '\\', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// escapeLength returns how long the escape is with which some bytes begin, and 0 if it isn't the
// one that RFC 8785, §3.2.2.2, has for that character.
func escapeLength(data []byte) int {
	if len(data) < 2 {
		return 0
	}
	if _, known := short[data[1]]; known {
		return 2
	}
	if len(data) < 6 || string(data[1:4]) != "u00" || !hexadecimal[data[4]] || !hexadecimal[data[5]] {
		return 0
	}
	switch c := escaped(data); {
	case c >= ' ' || c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t':
		return 0
	}
	return 6
}

// escaped returns the character that stands as backslash, u and four digits.
func escaped(data []byte) byte {
	code, _ := strconv.ParseUint(string(data[4:6]), 16, 8)
	return byte(code)
}

// unescape returns the text that was scanned.
func unescape(value []byte) string {
	found := make([]byte, 0, len(value))
	for len(value) > 0 {
		length := 1
		c := value[0]
		if c == '\\' {
			length = escapeLength(value)
			c = short[value[1]]
			if length == 6 {
				c = escaped(value)
			}
		}
		found = append(found, c)
		value = value[length:]
	}
	return string(found)
}

var hexadecimal = func() (found [256]bool) {
	for _, c := range "0123456789abcdef" {
		found[c] = true
	}
	return found
}()

// areHex tells whether all of some bytes, eight at a time, are lower-case hexadecimal digits.
//
// Added to a byte under 80, 80 less c sets the high bit just when the byte is not below c. Of the
// first byte from 80 on, both sums have it, or the larger one has lost it: that is no digit.
func areHex(digits []byte) bool {
	for ; len(digits) >= 8; digits = digits[8:] {
		word := binary.LittleEndian.Uint64(digits)
		digit := (word + (0x80-'0')*eachByte) &^ (word + (0x80-'9'-1)*eachByte)
		letter := (word + (0x80-'a')*eachByte) &^ (word + (0x80-'f'-1)*eachByte)
		if (digit|letter)&highBits != highBits {
			return false
		}
	}
	return len(digits) == 0
}
