// SPDX-License-Identifier: MIT

// The chain's files (SPEC §9), read as if an enemy had written them: only regular files, no
// symbolic links, and in memory that grows neither with a file nor with a line.

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	blockBytes  = 64 << 10
	bufferBytes = 1 + recordBytes + 2*blockBytes
	// How long a line that is being written may take to become whole.
	settle = 20 * time.Millisecond

	seekData = 3 // SEEK_DATA (lseek(2)), which syscall doesn't know
)

var segmentName = regexp.MustCompile(`\A([0-9]{12})\.jsonl\z`)

// A folder is the chain's: its segments, sorted. One of them is read at a time, into buffers that are
// made once: made for each file, they were a tenth of all the time.
type folder struct {
	root        *os.Root
	segments    []segment
	once, twice []byte
}

type segment struct {
	name  string
	first uint64 // the number of its first record
}

func nameOf(first uint64) string { return fmt.Sprintf("%012d.jsonl", first) }

// openChain opens the chain in a state directory.
func openChain(state string) (*folder, error) {
	above, err := os.OpenRoot(state)
	if err != nil {
		return nil, err
	}
	defer above.Close()
	if found, err := above.Lstat("chain"); err != nil {
		return nil, fmt.Errorf("%s: no chain here: %w", state, err)
	} else if !found.IsDir() {
		return nil, fmt.Errorf("%s: chain is no directory", state)
	}
	root, err := above.OpenRoot("chain")
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	found := &folder{root: root, once: make([]byte, bufferBytes), twice: make([]byte, bufferBytes)}
	for _, entry := range entries {
		if match := segmentName.FindStringSubmatch(entry.Name()); match != nil {
			first, _ := strconv.ParseUint(match[1], 10, 64)
			found.segments = append(found.segments, segment{entry.Name(), first})
		}
	}
	if len(found.segments) == 0 {
		return nil, fmt.Errorf("%s: no chain here (chain/%s)", state, nameOf(0))
	}
	slices.SortFunc(found.segments, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	return found, nil
}

// open opens a segment, after the one before; what has its name has to be a regular file.
func (f *folder) open(name string) (*lines, error) {
	before, err := f.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("chain/%s: not a regular file", name)
	}
	// Should it have become a pipe since, opening it waits for nobody.
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if opened, err := file.Stat(); err != nil || !os.SameFile(before, opened) {
		file.Close()
		return nil, errors.Join(fmt.Errorf("chain/%s: changed while it was opened", name), err)
	}
	return &lines{file: file, buffer: f.once, spare: f.twice, begin: 1, end: 1}, nil
}

// Lines are those of one file, one after the other.
type lines struct {
	file       *os.File
	buffer     []byte
	spare      []byte // for who looks again
	begin, end int    // what was read and not yet handed out; a byte before it is ours
	read       int64  // how many bytes of the file were read
	settled    bool
}

// next returns 00 ‖ line, which is what the line's leaf hash is over (RFC 6962, §2.1), without the
// line end; it is there until the next call. A line over the limit comes out cut, still over it.
// At the end of the file it is nil.
func (l *lines) next() ([]byte, error) {
	for {
		rest := l.buffer[l.begin:l.end]
		length := bytes.IndexByte(rest, '\n')
		if length < 0 && len(rest) > recordBytes {
			length = recordBytes + 1
		}
		if length >= 0 {
			// In place of the line end before, which nobody needs any more.
			l.buffer[l.begin-1] = 0
			leaf := l.buffer[l.begin-1 : l.begin+length]
			l.begin = min(l.begin+length+1, l.end) // a line that was cut has no line end
			return leaf, nil
		}
		if more, err := l.fill(); !more || err != nil {
			return nil, err
		}
	}
}

// fill reads a block more, and tells whether there was one.
func (l *lines) fill() (bool, error) {
	l.end = 1 + copy(l.buffer[1:], l.buffer[l.begin:l.end])
	l.begin = 1
	for {
		n, err := l.file.ReadAt(l.buffer[l.end:l.end+blockBytes], l.read)
		l.end += n
		l.read += int64(n)
		if n > 0 {
			if bytes.IndexByte(l.buffer[l.end-n:l.end], '\n') >= 0 {
				l.settled = false // what stands after it is another line
			} else if l.torn() > recordBytes {
				l.passHole()
			}
			return true, nil
		}
		if !errors.Is(err, io.EOF) {
			return false, err
		}
		if l.torn() == 0 || l.settled {
			return false, nil
		}
		l.settled = true
		time.Sleep(settle)
	}
}

// passHole goes on where data comes next: a hole in a file, which can say that it is longer than any
// disk, has no line end.
func (l *lines) passHole() {
	if at, err := l.file.Seek(l.read, seekData); err == nil {
		l.read = at
	} else if info, failed := l.file.Stat(); errors.Is(err, syscall.ENXIO) && failed == nil {
		l.read = max(l.read, info.Size()) // none comes
	}
}

// torn returns how many bytes stand after the last line end, at the end of the file.
func (l *lines) torn() int { return l.end - l.begin }

// position returns where in the file the line begins that is next.
func (l *lines) position() int64 { return l.read - int64(l.torn()) }

// again returns the lines of the same file from a position on, for one reader at a time.
func (l *lines) again(position int64) *lines {
	return &lines{file: l.file, buffer: l.spare, begin: 1, end: 1, read: position}
}

func (l *lines) close() { l.file.Close() }
