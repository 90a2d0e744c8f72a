// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// smallFileBytes is more than a key or a checkpoint has.
const smallFileBytes = 1 << 20

// For these y coordinates, with either sign, signatures that fit any text can be made without a
// secret (SPEC §3).
var smallOrder = map[string]bool{
	"0000000000000000000000000000000000000000000000000000000000000000": true,
	"0100000000000000000000000000000000000000000000000000000000000000": true,
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05": true,
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a": true,
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true,
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true,
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true,
}

// readKey reads a public key as 64 hexadecimal digits, and refuses those of small order.
func readKey(text string) (ed25519.PublicKey, error) {
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("a public key is written as 64 hexadecimal digits")
	}
	unsigned := bytes.Clone(key)
	unsigned[len(key)-1] &= 0x7f
	if smallOrder[hex.EncodeToString(unsigned)] {
		return nil, errors.New("a public key of small order verifies anything")
	}
	return key, nil
}

// givenKey reads what was given as --key: the key, or the name of a file that holds it.
func givenKey(text string) (ed25519.PublicKey, error) {
	key, wrong := readKey(text)
	if wrong == nil {
		return key, nil
	}
	data, err := readFile(text)
	if err != nil {
		return nil, fmt.Errorf("--key: %w, or is the name of such a file: %w", wrong, err)
	}
	if key, err = readKey(strings.TrimSpace(data)); err != nil {
		return nil, fmt.Errorf("--key: %s: %w", text, err)
	}
	return key, nil
}

// readFile reads a small file that was named on the command line.
func readFile(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, smallFileBytes))
	return string(data), err
}

// signed tells whether a record was signed with a key: step 6.
func signed(r *record, key ed25519.PublicKey) bool {
	signature, err := hex.DecodeString(string(r.value("sig")))
	if err != nil || len(signature) != ed25519.SignatureSize {
		return false
	}
	unsigned := sha256.New()
	unsigned.Write(r.line[:r.sigBegin])
	unsigned.Write(r.line[r.sigEnd:])
	text := "tibet-nc/v1\nrecord\n" + hex.EncodeToString(unsigned.Sum(nil))
	return ed25519.Verify(key, []byte(text), signature)
}
