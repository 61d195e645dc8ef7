// Package audit compares the ledger of an account with its Lago: whether all events will be billed (check), which billable
// metrics are missing (setup), and whether Lago lists and bills what was sent (reconcile).
package audit
