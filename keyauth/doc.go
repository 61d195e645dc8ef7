// Package keyauth is the directive that authenticates API keys and serves the key API.
//
// A presented key is hashed, and the hash is looked up in a keys.Cache, a bounded cache in front of a keystore.Store: an embedded file or
// Redis. The key API changes records by a keys.Service; every change is announced to the caches of all instances.
package keyauth
