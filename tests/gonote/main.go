// SPDX-License-Identifier: MIT

// Checks our checkpoints and proofs with the packages with which Go checks its own module log
// (golang.org/x/mod/sumdb/note, .../tlog). Only what is read from our files is done here.
//
//	gonote VKEY [COSIGNER] note FILE
//	gonote VKEY [COSIGNER] record FILE
//	gonote VKEY [COSIGNER] consistency FILE
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if len(os.Args) < 4 {
		fail(errors.New("usage: gonote VKEY [COSIGNER] note|record|consistency FILE"))
	}
	keys := os.Args[1 : len(os.Args)-2]
	data, err := os.ReadFile(os.Args[len(os.Args)-1])
	if err != nil {
		fail(err)
	}
	verifiers, err := verifiersOf(keys)
	if err != nil {
		fail(err)
	}
	switch os.Args[len(os.Args)-2] {
	case "note":
		_, err = open(string(data), verifiers)
	case "record":
		err = record(data, verifiers)
	case "consistency":
		err = consistency(data, verifiers)
	default:
		err = errors.New("neither note, record nor consistency")
	}
	if err != nil {
		fail(err)
	}
	fmt.Println("good")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bad:", err)
	os.Exit(1)
}

func verifiersOf(keys []string) ([]note.Verifier, error) {
	var verifiers []note.Verifier
	for number, key := range keys {
		made, err := note.NewVerifier(key)
		if number > 0 {
			made, err = newCosigner(key)
		}
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, made)
	}
	return verifiers, nil
}

// open returns the tree of a checkpoint, which every one of the keys must have signed.
func open(text string, verifiers []note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open([]byte(text), note.VerifierList(verifiers...))
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(opened.Sigs) != len(verifiers) {
		return tlog.Tree{}, errors.New("not signed with each of the keys")
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifiers[0].Name() {
		return tlog.Tree{}, errors.New("not a checkpoint of this origin")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func hashes(lines []string) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, line := range lines {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		found = append(found, hash)
	}
	return found, nil
}

func record(data []byte, verifiers []note.Verifier) error {
	var file struct {
		Records []struct{ Line, Proof string }
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return err
	}
	if len(file.Records) == 0 {
		return errors.New("no record")
	}
	for _, shown := range file.Records {
		head, checkpoint, _ := strings.Cut(shown.Proof, "\n\n")
		lines := strings.Split(head, "\n")
		if len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
			return errors.New("not a tlog-proof")
		}
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
		if err != nil {
			return err
		}
		path, err := hashes(lines[2:])
		if err != nil {
			return err
		}
		tree, err := open(checkpoint, verifiers)
		if err != nil {
			return err
		}
		leaf := tlog.RecordHash([]byte(shown.Line))
		if err := tlog.CheckRecord(path, tree.N, tree.Hash, index, leaf); err != nil {
			return err
		}
	}
	return nil
}

func consistency(data []byte, verifiers []note.Verifier) error {
	var file struct {
		Old, New string
		Path     []string
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return err
	}
	old, err := open(file.Old, verifiers)
	if err != nil {
		return err
	}
	grown, err := open(file.New, verifiers)
	if err != nil {
		return err
	}
	path, err := hashes(file.Path)
	if err != nil {
		return err
	}
	return tlog.CheckTree(path, grown.N, grown.Hash, old.N, old.Hash)
}

// cosigner verifies timestamped cosignatures (C2SP tlog-cosignature), of which Go's packages know
// the note around them but not the algorithm byte, 4.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newCosigner(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, errors.New("not a cosigner's key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if parts[1] != fmt.Sprintf("%08x", sum[:4]) {
		return nil, errors.New("the key's id does not fit it")
	}
	return &cosigner{parts[0], binary.BigEndian.Uint32(sum[:]), key[1:]}, nil
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

func (c *cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	seconds := binary.BigEndian.Uint64(signature)
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", seconds, text)
	return ed25519.Verify(c.key, []byte(signed), signature[8:])
}
