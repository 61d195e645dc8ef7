// Package disk holds the files of a spool: what it needs of a file system, and the one of the operating system.
package disk

import (
	"errors"
	"io"
)

// ErrLocked means that another process has the lock.
var ErrLocked = errors.New("the spool is in use by another process")

// FS is the part of a file system that a spool needs, so that crashes can be simulated.
type FS interface {
	// MkdirAll creates dir and missing parents, and makes their names durable.
	MkdirAll(dir string) error
	// ReadDir returns the names in dir.
	ReadDir(dir string) ([]string, error)
	// Create creates a file for reading and writing. If it exists, that is an error (fs.ErrExist).
	Create(name string) (File, error)
	// Open opens a file for reading and, unless readOnly, for writing. A missing file is fs.ErrNotExist. On a read-only file system it
	// opens the file for reading, and writes fail.
	Open(name string, readOnly bool) (File, error)
	Remove(name string) error
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock that ends with the process. ErrLocked means that another process has it.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Sync makes the content durable. After an error it is unknown what is durable, even if a later Sync succeeds.
	Sync() error
	Size() (int64, error)
}
