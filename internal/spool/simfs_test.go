package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/tollgate-llm/tollgate/internal/spool/disk"
)

const sectorSize = 512

// simFS is a file system in memory that knows what of it would survive a crash, by the model of ALICE (Pillai et al.,
// OSDI 2014). Until a file is synced, each of its sectors of 512 bytes may be on disk as it was after any of the writes
// since, and the file may have any of the sizes it had; until its directory is synced, each name may stand for what it
// stood for after any of the changes since. A failed sync forgets what was dirty, as Linux does.
type simFS struct {
	mu      sync.Mutex
	dirs    map[string]bool
	names   map[string]*simNode   // as processes see them
	history map[string][]*simNode // what each name may stand for after the power was lost, oldest first; nil: nothing
	locks   map[string]bool

	before  func(op string) // called before each change, without the lock, when nothing of it has happened
	torn    func(op string) // called when a part of a write has happened
	fault   func(op, name string) error
	limit   int64 // bytes that fit; 0: any
	changes int
	syncs   int
}

type simNode struct {
	data  []byte           // as processes see it
	disk  []byte           // as it is durable
	dirty map[int][][]byte // what each sector may be on disk, but for what disk has
	sizes []int            // the sizes the file may have, but for that of disk
}

func newSimFS() *simFS {
	return &simFS{dirs: map[string]bool{"/": true}, names: map[string]*simNode{}, history: map[string][]*simNode{}, locks: map[string]bool{}}
}

// simFile is an open file: it stays what it is when its name goes.
type simFile struct {
	fs       *simFS
	node     *simNode
	name     string
	readOnly bool
	closed   bool
}

// change begins one change of the disk: faults come from here.
func (s *simFS) change(op, name string) error {
	if s.before != nil {
		s.before(op + " " + filepath.Base(name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	if s.fault != nil {
		return s.fault(op, name)
	}
	return nil
}

func (s *simFS) MkdirAll(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; !s.dirs[dir]; dir = filepath.Dir(dir) {
		s.dirs[dir] = true
	}
	return nil
}

func (s *simFS) ReadDir(dir string) (names []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirs[dir] {
		return nil, fs.ErrNotExist
	}
	for name := range s.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

func (s *simFS) put(name string, n *simNode) {
	if _, known := s.history[name]; !known {
		s.history[name] = []*simNode{s.names[name]}
	}
	s.history[name] = append(s.history[name], n)
	if n == nil {
		delete(s.names, name)
	} else {
		s.names[name] = n
	}
}

func (s *simFS) Create(name string) (disk.File, error) {
	if err := s.change("create", name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirs[filepath.Dir(name)] {
		return nil, fs.ErrNotExist
	}
	if s.names[name] != nil {
		return nil, fs.ErrExist
	}
	n := &simNode{dirty: map[int][][]byte{}}
	s.put(name, n)
	return &simFile{fs: s, node: n, name: name}, nil
}

func (s *simFS) Open(name string, readOnly bool) (disk.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.names[name]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return &simFile{fs: s, node: n, name: name, readOnly: readOnly}, nil
}

func (s *simFS) Remove(name string) error {
	if err := s.change("remove", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name] == nil {
		return fs.ErrNotExist
	}
	s.put(name, nil)
	return nil
}

func (s *simFS) SyncDir(dir string) error {
	if err := s.change("syncdir", dir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.history, func(name string, _ []*simNode) bool { return filepath.Dir(name) == dir })
	return nil
}

type simLock struct {
	fs   *simFS
	name string
}

func (l simLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}

func (s *simFS) Lock(name string) (io.Closer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locks[name] {
		return nil, disk.ErrLocked
	}
	s.locks[name] = true
	return simLock{s, name}, nil
}

// used is how many bytes the files take.
func (s *simFS) used() (n int64) {
	for _, node := range s.names {
		n += int64(len(node.data))
	}
	return n
}

func (f *simFile) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, fs.ErrClosed
	}
	if f.fs.fault != nil {
		if err := f.fs.fault("read", f.name); err != nil {
			return 0, err
		}
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// part writes some of b: a write to a full disk, or one that the end of the process cut off, gets only so far.
func (f *simFile) part(b []byte, off int64) {
	n := f.node
	if size := int(off) + len(b); size > len(n.data) {
		n.data = append(n.data, make([]byte, size-len(n.data))...)
	}
	copy(n.data[off:], b)
	n.touch(int(off), int(off)+len(b))
}

// touch notes the state of sectors, and the size, as one that the disk may have from now on.
func (n *simNode) touch(from, to int) {
	for at := from / sectorSize; at*sectorSize < to; at++ {
		n.dirty[at] = append(n.dirty[at], sector(n.data, at))
	}
	n.sizes = append(n.sizes, len(n.data))
}

func sector(b []byte, at int) []byte {
	out := make([]byte, sectorSize)
	if at*sectorSize < len(b) {
		copy(out, b[at*sectorSize:])
	}
	return out
}

func (f *simFile) WriteAt(b []byte, off int64) (int, error) {
	if f.readOnly {
		return 0, syscall.EBADF
	}
	if f.fs.torn != nil && len(b) > 1 {
		if err := f.fs.change("write", f.name); err != nil {
			return 0, err
		}
		f.fs.mu.Lock()
		f.part(b[:len(b)/2], off)
		f.fs.mu.Unlock()
		f.fs.torn("half of a write to " + filepath.Base(f.name))
	} else if err := f.fs.change("write", f.name); err != nil {
		if errors.Is(err, errLanded) {
			f.fs.mu.Lock()
			defer f.fs.mu.Unlock()
			f.part(b, off)
		}
		return 0, err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, fs.ErrClosed
	}
	if grows := off + int64(len(b)) - int64(len(f.node.data)); f.fs.limit > 0 && grows > 0 {
		if room := f.fs.limit - f.fs.used(); room < grows {
			fits := max(0, int64(len(b))-grows+max(0, room))
			f.part(b[:fits], off)
			return int(fits), syscall.ENOSPC
		}
	}
	f.part(b, off)
	return len(b), nil
}

func (f *simFile) Truncate(size int64) error {
	if err := f.fs.change("truncate", f.name); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n := f.node
	if int(size) < len(n.data) {
		n.data = n.data[:size]
	} else {
		n.data = append(n.data, make([]byte, int(size)-len(n.data))...)
	}
	n.sizes = append(n.sizes, len(n.data))
	return nil
}

func (f *simFile) Sync() error {
	err := f.fs.change("sync", f.name)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.syncs++
	n := f.node
	if err != nil {
		// Some of what was dirty is on disk, and nothing will be written again.
		n.disk = n.lose(rand.New(rand.NewPCG(uint64(f.fs.changes), 7)))
		n.dirty, n.sizes = map[int][][]byte{}, nil
		return err
	}
	size := len(n.disk)
	if len(n.sizes) > 0 {
		size = len(n.data)
	}
	disk := make([]byte, (max(size, len(n.disk))+sectorSize-1)/sectorSize*sectorSize)
	copy(disk, n.disk)
	for at := range n.dirty {
		if (at+1)*sectorSize <= len(disk) {
			copy(disk[at*sectorSize:], sector(n.data, at))
		}
	}
	n.disk, n.dirty, n.sizes = disk[:size], map[int][][]byte{}, nil
	return nil
}

func (f *simFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *simFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fmt.Errorf("%s: %w", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

// lose returns what the disk may hold of a file when the power is lost. Where nothing was written for good there may be
// zeros, or whatever stood there before.
func (n *simNode) lose(r *rand.Rand) []byte {
	sizes := append([]int{len(n.disk)}, n.sizes...)
	size := sizes[r.IntN(len(sizes))]
	out := make([]byte, size)
	copy(out, n.disk)
	if garbage := r.IntN(2) == 0; garbage {
		for i := len(n.disk); i < size; i++ {
			out[i] = byte(r.Uint32())
		}
	}
	for _, at := range slices.Sorted(maps.Keys(n.dirty)) {
		versions := n.dirty[at]
		if i := r.IntN(len(versions) + 1); i < len(versions) && at*sectorSize < size {
			copy(out[at*sectorSize:], versions[i])
		}
	}
	return out
}

// killed returns the disk as the next process finds it: all that was written.
func (s *simFS) killed() *simFS {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := newSimFS()
	maps.Copy(to.dirs, s.dirs)
	copies := map[*simNode]*simNode{nil: nil}
	clone := func(n *simNode) *simNode {
		if c, ok := copies[n]; ok {
			return c
		}
		c := &simNode{data: bytes.Clone(n.data), disk: n.disk, dirty: map[int][][]byte{}, sizes: slices.Clone(n.sizes)}
		for at, versions := range n.dirty {
			c.dirty[at] = slices.Clone(versions)
		}
		copies[n] = c
		return c
	}
	for name, n := range s.names {
		to.names[name] = clone(n)
	}
	for name, list := range s.history {
		for _, n := range list {
			to.history[name] = append(to.history[name], clone(n))
		}
	}
	return to
}

// lostPower returns one of the disks that the loss of power may leave behind.
func (s *simFS) lostPower(r *rand.Rand) *simFS {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := newSimFS()
	maps.Copy(to.dirs, s.dirs)
	names := maps.Clone(s.names)
	for _, name := range slices.Sorted(maps.Keys(s.history)) {
		list := s.history[name]
		names[name] = list[r.IntN(len(list))]
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if n := names[name]; n != nil {
			data := n.lose(r)
			to.names[name] = &simNode{data: data, disk: bytes.Clone(data), dirty: map[int][][]byte{}}
		}
	}
	return to
}

// content returns a file's bytes, which the caller may change in place.
func (s *simFS) content(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.names[name]; n != nil {
		return n.data
	}
	return nil
}

// errDisk is a fault. errLanded is the fault of a write whose bytes are on disk nevertheless.
var (
	errDisk   = errors.New("the simulated disk is broken")
	errLanded = fmt.Errorf("%w after it has written", errDisk)
)
