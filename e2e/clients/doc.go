// Package clients tests the gateway with the clients that users have: official SDKs and coding tools as their registries publish
// them. `./test.sh clients` installs and runs them.
package clients
