// Package console is the directive `console`. It serves pages for operators and key holders on the site itself.
// All data on them comes from the site's own keyauth, lagobilling and llmroute.
package console
