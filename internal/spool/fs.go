package spool

import "io"

// FS is the little of a file system that a spool needs, so that crashes can be simulated.
type FS interface {
	// MkdirAll makes dir and what is missing above it, and makes their names durable.
	MkdirAll(dir string) error
	// ReadDir returns the names in dir.
	ReadDir(dir string) ([]string, error)
	// Create makes a new file for reading and writing; one that exists is an error (fs.ErrExist).
	Create(name string) (File, error)
	// Open opens a file for reading and, unless readOnly, for writing. One that is missing is fs.ErrNotExist. On a file
	// system that is read-only it opens for reading, and the writes fail.
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
	// Sync makes the content durable. After an error it is unknown what is durable, and a later success proves nothing.
	Sync() error
	Size() (int64, error)
}
