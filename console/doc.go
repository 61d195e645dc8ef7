// Package console is the directive `console`: pages for operators and holders of keys, served by the site itself. Everything they
// show comes from the site's own keyauth, lagobilling and llmroute.
package console
