// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"unicode"
)

const (
	keyIDBytes  = 4
	noteEd25519 = 1 // the type of signature, in C2SP signed-note
)

var strictBase64 = base64.StdEncoding.Strict()

// A checkpoint is what a note says of a chain (C2SP tlog-checkpoint).
type checkpoint struct {
	origin string
	size   uint64
	root   []byte
}

// openNote returns the text of a signed note (C2SP signed-note) that a key has signed under a name.
//
// Signatures by others are passed over; one that claims to be by this key has to verify.
func openNote(note, name string, key ed25519.PublicKey) (string, error) {
	if strings.ContainsFunc(note, func(r rune) bool { return r < ' ' && r != '\n' }) {
		return "", errors.New("a note has no control characters but line ends")
	}
	end := strings.LastIndex(note, "\n\n")
	if end < 0 || !strings.HasSuffix(note[end+2:], "\n") {
		return "", errors.New("a note is a text, an empty line and signature lines")
	}
	text, lines := note[:end+1], strings.Split(note[end+2:len(note)-1], "\n")
	id := keyID(name, key)
	found := false
	for _, line := range lines {
		signer, data, err := signatureLine(line)
		if err != nil {
			return "", err
		}
		if signer != name || !bytes.HasPrefix(data, id) {
			continue
		}
		if len(data) != keyIDBytes+ed25519.SignatureSize ||
			!ed25519.Verify(key, []byte(text), data[keyIDBytes:]) {
			return "", errors.New("its signature does not verify")
		}
		found = true
	}
	if !found {
		return "", errors.New("it is not signed by the key of this record")
	}
	return text, nil
}

func keyID(name string, key ed25519.PublicKey) []byte {
	text := append([]byte(name+"\n"), noteEd25519)
	sum := sha256.Sum256(append(text, key...))
	return sum[:keyIDBytes]
}

func signatureLine(line string) (string, []byte, error) {
	rest, begins := strings.CutPrefix(line, "— ")
	name, encoded, both := strings.Cut(rest, " ")
	reserved := func(r rune) bool { return r == '+' || unicode.IsSpace(r) }
	if !begins || !both || name == "" || strings.ContainsFunc(name, reserved) {
		return "", nil, errors.New("a signature line is malformed")
	}
	data, err := strictBase64.DecodeString(encoded)
	if err != nil || len(data) == 0 {
		return "", nil, errors.New("a signature is not in base64")
	}
	return name, data, nil
}

// readCheckpoint reads the text of a note; lines after the third are extensions.
func readCheckpoint(text string) (checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" || lines[0] == "" {
		return checkpoint{}, errors.New("a checkpoint has an origin, a size and a root, a line each")
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] || size > exactInteger {
		return checkpoint{}, errors.New("the size of a checkpoint is a number, without leading zeros")
	}
	root, err := strictBase64.DecodeString(lines[2])
	if err != nil || len(root) != sha256.Size {
		return checkpoint{}, errors.New("the root of a checkpoint is a digest in base64")
	}
	return checkpoint{lines[0], size, root}, nil
}
