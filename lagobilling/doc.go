// Package lagobilling determines what a call cost and who pays: it meters answers, writes usage records and delivers them to Lago.
package lagobilling
