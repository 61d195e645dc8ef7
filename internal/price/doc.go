// Package price computes the exact cost of usage: integers from the text of a price to the sum on the record.
//
// Prices come from three layers, each laid over the one below by price name: prices written in the configuration for a
// backend (Query.Written), price files (Table.Overlay), and the embedded data, which is generated from the Python packages
// genai-prices (MIT; LICENSE.genai-prices) and, behind it, litellm (MIT; LICENSE.litellm). docs/prices.md describes names, units and file formats.
package price

//go:generate go run ./gen -source genai-prices
//go:generate go run ./gen -source litellm
