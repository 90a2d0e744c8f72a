// SPDX-License-Identifier: MIT

// Tibet-nc-recheck verifies the chain of a tibet-nc executor, from its files alone.
//
// It is a second implementation, made from protocol/SPEC.md: it shares no line with the first one,
// nor a language, nor a library. Exit status: 0 good, 1 bad, 2 wrong usage or unreadable files.
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	good     = 0
	bad      = 1
	unusable = 2
)

const usage = `usage: tibet-nc-recheck [--state DIR] [--key HEX|FILE] [--against SEQ:HEAD|FILE]
                        [--chain-only | --deep] [--json]

Say whether the chain of a tibet-nc executor is whole and true, and name the first record that
isn't. This is a second implementation, which shares nothing with tibet-nc-audit but the
specification.

  --state DIR         the executor's state directory, or a copy of it (default /var/lib/tibet-nc)
  --key HEX|FILE      the executor's public key: 64 hexadecimal digits, or a file that holds them
  --against SEQ:HEAD|FILE
                      a head that is held: a record's number and its digest, or at least the first
                      8 digits of it; or a file with a checkpoint's note; may be repeated
  --chain-only        fast: numbers, links, roots and checkpoints; not what records say
  --deep              verify the signature of every record too
  --json              the verdict as one JSON object

Checked are each record's form, number and link; that each command ends once; sizes, roots and
notes of all checkpoints; the signatures of the genesis, of key records and of the last record of
each file. Those vouch for all records before them (SPEC, section 7), and where one is wrong,
every signature since the one before is verified, to name the first record that is.

Not checked are the texts, recordings and tokens that records speak of, what the journal and the
room say, and anything after the first record that is wrong, or the first file that can't be read:
tibet-nc-audit does these. With
--chain-only the form of records isn't checked either, but for those that vouch for others: what
only the executor can have written may then be no record. A chain that was cut short agrees with
itself: only a head that someone else holds (--against) shows it.

Exit status: 0 good; 1 bad; 2 wrong usage, or unreadable.
`

var checked = map[depth]string{
	linksOnly:  "every number, link, root and checkpoint",
	records:    "every record, number, link, root and checkpoint; those vouch for the rest",
	signatures: "every record, number, link, root, checkpoint and signature",
}

const unchecked = "command texts, recordings, tokens; what the journal and the room say"

// A verdict is all that there is to say; what is wrong is left out of a good one.
type verdict struct {
	Good    bool `json:"good"`
	depth   depth
	Key     string `json:"key"` // the one that the chain began with
	LastKey string `json:"last_key"`
	Pinned  bool   `json:"pinned"` // whether the key was given, not taken from the chain itself
	Since   uint64 `json:"since"`  // the record from which on the key given is the chain's
	Files   int    `json:"files"`
	Records uint64 `json:"records,omitempty"`
	Head    string `json:"head,omitempty"`
	Wrong   *wrong `json:"first_bad,omitempty"`
}

type wrong struct {
	Record   uint64 `json:"record"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	Rule     string `json:"rule"`
	Reason   string `json:"reason"`
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
}

var writtenHead = regexp.MustCompile(`\A([0-9]{1,15}):([0-9a-fA-F]{8,64})\z`)

func main() {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	state := flags.String("state", "/var/lib/tibet-nc", "")
	var key *string // nil if none was given, which an empty one isn't
	flags.Func("key", "", func(text string) error {
		key = &text
		return nil
	})
	chainOnly := flags.Bool("chain-only", false, "")
	deep := flags.Bool("deep", false, "")
	asJSON := flags.Bool("json", false, "")
	var held []head
	flags.Func("against", "", func(text string) error {
		head, err := givenHead(text)
		held = append(held, head)
		return err
	})
	err := flags.Parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		write([]byte(usage))
		return
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected: %q", flags.Arg(0))
	}
	if err != nil {
		fail(fmt.Errorf("%w (--help says more)", err))
	}
	depth := records
	switch {
	case *chainOnly && *deep:
		fail(errors.New("--chain-only and --deep exclude each other"))
	case *chainOnly:
		depth = linksOnly
	case *deep:
		depth = signatures
	}
	begin := time.Now()
	found, err := verify(*state, key, depth, held)
	if err != nil {
		fail(err)
	}
	var out bytes.Buffer
	if *asJSON {
		json.NewEncoder(&out).Encode(found)
	} else {
		found.print(&out, *state, time.Since(begin))
	}
	write(out.Bytes())
	if !found.Good {
		os.Exit(bad)
	}
}

// givenHead reads what was given as --against. The signature of a note isn't asked for: whoever
// holds it knows where it is from.
func givenHead(text string) (head, error) {
	if match := writtenHead.FindStringSubmatch(text); match != nil {
		record, err := strconv.ParseUint(match[1], 10, 64)
		return head{record: record, digits: strings.ToLower(match[2])}, err
	}
	data, err := readFile(text)
	if err != nil {
		return head{}, fmt.Errorf("neither SEQ:HEAD, with 8 digits or more, nor a file: %w", err)
	}
	end := strings.LastIndex(data, "\n\n")
	said, err := readCheckpoint(data[:max(0, end+1)])
	return head{record: said.size, digits: hex.EncodeToString(said.root), root: true}, err
}

// write writes to the standard output. A verdict that can't be written is none.
func write(text []byte) {
	if _, err := os.Stdout.Write(text); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "tibet-nc-recheck:", err)
	os.Exit(unusable)
}

func verify(state string, keyText *string, depth depth, held []head) (*verdict, error) {
	folder, err := openChain(state)
	if err != nil {
		return nil, err
	}
	c := newChain(nil, depth, held)
	found := &verdict{depth: depth, Files: len(folder.segments)}
	var unread error
	if keyText != nil {
		given, err := givenKey(*keyText)
		if err != nil {
			return nil, err
		}
		c.key, c.signed, unread = firstKey(folder, given)
		if errors.Is(unread, errUnused) {
			return nil, unread
		}
		found.Since, found.Pinned = c.signed.record, unread == nil
	}
	first, err := walk(folder, c)
	if first == nil && unread != nil {
		err = unread // what is bad before that is bad by the chain's own key, too
	}
	if err != nil {
		return nil, err
	}
	found.Good = first == nil
	found.Key, found.LastKey = hex.EncodeToString(c.first), hex.EncodeToString(c.key)
	if first != nil {
		found.Wrong = &wrong{first.record, "chain/" + first.segment.name, first.row + 1,
			"SPEC " + first.rule, first.reason, first.expected, first.found}
		return found, nil
	}
	found.Records = c.length
	found.Head = fmt.Sprintf("%d:%s", c.length-1, c.head)
	return found, nil
}

// counted says how many of something there are.
func counted[N int | uint64](number N, noun string) string {
	if number == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", number, noun)
}

func (v *verdict) print(out io.Writer, state string, took time.Duration) {
	row := func(name, text string) { fmt.Fprintf(out, "%-12s %s\n", name, text) }
	row("state", fmt.Sprintf("%q", state))
	row("key", v.Key)
	if v.LastKey != v.Key {
		row("later key", v.LastKey+", by a record that the key before it signed")
	}
	if v.Pinned {
		row("pinned", "yes, by --key")
	} else {
		row("pinned", "NO: the key is from the chain itself, which so only agrees with itself; pin it"+
			" with --key")
	}
	if v.Since > 0 {
		row("note", fmt.Sprintf("the key given is this chain's since record %d: what stands before is"+
			" vouched for by what that key has signed since", v.Since))
	}
	if v.Good {
		row("records", fmt.Sprintf("%d in %s", v.Records, counted(v.Files, "file")))
		row("head", v.Head)
	}
	row("checked", checked[v.depth])
	if v.depth == linksOnly {
		row("not checked", "each record by itself, "+unchecked)
	} else {
		row("not checked", unchecked)
	}
	fmt.Fprintln(out)
	if v.Good {
		fmt.Fprintf(out, "GOOD: %s in %.1f s\n", counted(v.Records, "record"), took.Seconds())
		return
	}
	w := v.Wrong
	fmt.Fprintf(out, "BAD: first bad record %d; nothing after it was checked\n", w.Record)
	fmt.Fprintf(out, "  record %d: %s (%s, line %d; %s)\n", w.Record, w.Reason, w.File, w.Line, w.Rule)
	if w.Expected != "" {
		fmt.Fprintf(out, "    expected %s\n", w.Expected)
	}
	if w.Found != "" {
		fmt.Fprintf(out, "    found    %s\n", w.Found)
	}
}
