// Package keyauth says who is calling: it authenticates API keys, serves the key API and caches identities.
//
// A presented key is hashed, and the hash is looked up in a keys.Cache, which is bounded and in front of a keystore.Store, which is an
// embedded file or Redis. The key API works through a keys.Service, which changes records in the store; every change is
// announced to the caches of all instances.
package keyauth
