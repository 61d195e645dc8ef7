// Package console is the directive `console`: pages for operators and for those who hold a key, on the site itself. It asks
// the site's own keyauth, lagobilling and llmroute for all that it shows.
package console
