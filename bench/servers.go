package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
)

// The servers print their URL, serve until their standard input closes, and then print their totals.

const lagoMetric, lagoKey = "tokens", "lago-bench"

// providerAccount is the fake provider's final totals, over all models.
type providerAccount struct {
	Calls, Whole int
	Violations   []string
}

func serveProvider() {
	p := fakeprovider.New(nil, fakeprovider.Options{Keep: 1})
	fmt.Println("URL", p.URL)
	waitForEnd()
	var a providerAccount
	for _, t := range p.Totals() {
		a.Calls += t.Calls
		a.Whole += t.Whole
	}
	a.Violations = p.Violations()
	p.Close()
	account(a)
}

// lagoAccount is the fake Lago's final totals.
type lagoAccount struct {
	Events     int
	Twice      []string
	Violations []string
}

func serveLago() {
	l := fakelago.New(nil, fakelago.Options{Key: lagoKey})
	l.AddMetric(fakelago.Metric{Code: lagoMetric, Field: "total_tokens"})
	for i := range teams {
		l.AddSubscription(fakelago.Subscription{ExternalID: team(i)})
	}
	fmt.Println("URL", l.URL)
	waitForEnd()
	a := lagoAccount{Events: l.EventCount(), Twice: l.BilledTwice(), Violations: l.Violations()}
	l.Close()
	account(a)
}

// serveCollector accepts OTLP traces and discards them.
func serveCollector() {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	fmt.Println("URL", s.URL)
	waitForEnd()
	s.Close()
}

func waitForEnd() {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func account(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ACCOUNT", string(b))
}
