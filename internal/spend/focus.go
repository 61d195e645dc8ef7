package spend

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// FOCUS columns of version 1.2 (FOCUS_Spec tag v1.2, specification/columns), all of them, in the alphabetical order of the specification.
var focusColumns = []string{
	"AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency", "BillingPeriodEnd",
	"BillingPeriodStart", "CapacityReservationId", "CapacityReservationStatus", "ChargeCategory", "ChargeClass", "ChargeDescription",
	"ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName",
	"CommitmentDiscountQuantity", "CommitmentDiscountStatus", "CommitmentDiscountType", "CommitmentDiscountUnit", "ConsumedQuantity",
	"ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice",
	"PricingCategory", "PricingCurrency", "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice",
	"PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType",
	"ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId",
	"SubAccountName", "SubAccountType", "Tags",
}

// Columns that version 1.3 adds.
var focusColumns13 = []string{
	"AllocatedMethodDetails", "AllocatedMethodId", "AllocatedResourceId", "AllocatedResourceName", "AllocatedTags", "ContractApplied",
	"HostProviderName", "ServiceProviderName",
}

// Columns that version 1.4 adds, and those that it removes.
var (
	focusColumns14 = []string{"CommitmentProgramEligibilityDetails", "InvoiceDetailId"}
	focusRemoved14 = []string{"ProviderName", "PublisherName"}
)

// Our own columns, after those of the specification.
var focusOwn = []string{"x_BaseCost", "x_BilledReason", "x_UsageSource"}

// FocusVersions are the versions that can be written, the default first.
var FocusVersions = []string{"1.2", "1.3", "1.4"}

// FocusDimensions are what rows of a FOCUS export are split by, besides days and lines.
var FocusDimensions = []Dimension{Payer, Team, User, Key, KeyAlias, Model, Upstream, Provider, Billed, Factor, Source}

// FocusColumns returns the columns of a version.
func FocusColumns(version string) ([]string, error) {
	list := slices.Clone(focusColumns)
	switch version {
	case "1.2":
	case "1.3":
		list = append(list, focusColumns13...)
	case "1.4":
		list = append(append(list, focusColumns13...), focusColumns14...)
		list = slices.DeleteFunc(list, func(c string) bool { return slices.Contains(focusRemoved14, c) })
	default:
		return nil, fmt.Errorf("%w: FOCUS %q is none of %s", ErrQuery, version, strings.Join(FocusVersions, ", "))
	}
	slices.Sort(list)
	return append(list, focusOwn...), nil
}

// Focus returns the FOCUS rows of a row of the books that covers one day, split by FocusDimensions and with its lines. issuer is the
// issuer of the invoices. Cells are keyed by column; missing ones are null.
func Focus(r *Row, issuer string) ([]map[string]string, error) {
	lines, err := LinesOf(r.Sums)
	if err != nil {
		return nil, err
	}
	var v values
	for i, d := range FocusDimensions {
		v[d] = r.Values[i]
	}
	factor, ok := new(big.Rat).SetString(v[Factor])
	if !ok {
		factor = big.NewRat(1, 1)
	}
	out := make([]map[string]string, 0, len(lines))
	for i := range lines {
		cells, err := focusRow(&lines[i], &v, r.Start, factor)
		if err != nil {
			return nil, err
		}
		cells["InvoiceIssuerName"], cells["ProviderName"], cells["ServiceProviderName"] = issuer, issuer, issuer
		out = append(out, cells)
	}
	return out, nil
}

// LineSums are the sums of one line.
type LineSums struct {
	Line
	Count      price.Amount // in thousandths of the kind's unit
	Base, Cost price.Amount
}

// Total is the kind of a line that is a sum without a unit price: one that the provider reported, or that of records without lines.
const Total = "total"

// LinesOf returns the lines in sums, ordered by name. They add up to the cost: the part that is in no line gets its own line.
func LinesOf(s Sums) ([]LineSums, error) {
	found := make(map[Line]*LineSums)
	at := func(l Line) *LineSums {
		if found[l] == nil {
			found[l] = &LineSums{Line: l}
		}
		return found[l]
	}
	var base, cost price.Amount
	for measure, a := range s {
		l, part, ok := ParseLine(measure)
		if !ok {
			continue
		}
		var err error
		switch part {
		case LineCount:
			at(l).Count = a
		case LineBase:
			at(l).Base = a
			base, err = base.Add(a)
		case LineCost:
			at(l).Cost = a
			cost, err = cost.Add(a)
		}
		if err != nil {
			return nil, err
		}
	}
	if cost.Cmp(s[Cost]) < 0 || base.Cmp(s[BaseCost]) < 0 {
		rest := at(Line{Kind: Total})
		var err error
		if rest.Base, err = rest.Base.Add(s[BaseCost].Sub(base)); err != nil {
			return nil, err
		}
		if rest.Cost, err = rest.Cost.Add(s[Cost].Sub(cost)); err != nil {
			return nil, err
		}
	}
	list := make([]LineSums, 0, len(found))
	for _, l := range found {
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b LineSums) int { return strings.Compare(a.Measure(""), b.Measure("")) })
	return list, nil
}

// unitsOf holds the plural names of units, and the number of units that a price is for.
func unitsOf(l *Line) (name string, per int64) {
	switch l.Per {
	case "hour":
		return "Seconds", 3600
	case "minute":
		return "Seconds", 60
	case "second":
		return "Seconds", 1
	case "million":
		per = 1_000_000
	default:
		per = 1
	}
	switch {
	case l.Kind == "input_characters":
		return "Characters", per
	case l.Kind == "annotated_pages":
		return "Pages", per
	case l.Kind == "images", l.Kind == "pages":
		return strings.ToUpper(l.Kind[:1]) + l.Kind[1:], per
	case per == 1_000_000:
		return "Tokens", per
	}
	return "Requests", per
}

// dollars is the unit of a charge without a unit price, or with one that is not a finite decimal: its quantity is its base cost.
const dollars = "US Dollars"

func focusRow(l *LineSums, v *values, day time.Time, factor *big.Rat) (map[string]string, error) {
	quantity := rat(l.Count)
	quantity.Mul(quantity, big.NewRat(1_000_000_000_000, 1)) // thousandths, counted in the last digit of an amount
	unit, per := unitsOf(&l.Line)
	consumed, consumedUnit := quantity, unit
	list, ok := new(big.Rat).SetString(l.Price)
	if ok {
		list.Quo(list, big.NewRat(per, 1))
	}
	if _, finite := decimal(list); !ok || !finite {
		quantity, unit, list = rat(l.Base), dollars, big.NewRat(1, 1)
		if l.Kind == Total {
			consumed, consumedUnit = quantity, unit
		}
	}
	contracted := new(big.Rat).Mul(list, factor)
	billed := l.Cost
	if v[Billed] != isBilled {
		billed = price.Amount{}
	}
	upstream := v[Upstream]
	if l.Model != "" {
		upstream = l.Model
	}
	sku := v[Provider] + "/" + upstream + "/" + l.Kind
	tags, err := json.Marshal(map[string]string{"key": v[Key], "key_alias": v[KeyAlias], "user": v[User], "model": v[Model]})
	if err != nil {
		return nil, err
	}
	meter := strings.ReplaceAll(l.Kind, "_", " ")
	month := time.Date(day.Year(), day.Month(), 1, 0, 0, 0, 0, time.UTC)
	cells := map[string]string{
		"BillingAccountId": v[Payer], "BillingAccountName": v[Payer], "BillingAccountType": "Customer", "BillingCurrency": "USD",
		"BillingPeriodStart": moment(month), "BillingPeriodEnd": moment(month.AddDate(0, 1, 0)),
		"ChargePeriodStart": moment(day), "ChargePeriodEnd": moment(day.AddDate(0, 0, 1)),
		"ChargeCategory": "Usage", "ChargeFrequency": "Usage-Based", "ChargeDescription": meter + " of " + upstream,
		"PublisherName": v[Provider], "HostProviderName": v[Provider],
		"ServiceCategory": "AI and Machine Learning", "ServiceSubcategory": "Generative AI", "ServiceName": "Tollgate",
		"PricingCategory": "Standard", "PricingCurrency": "USD", "PricingUnit": unit, "ConsumedUnit": consumedUnit,
		"SkuId": sku, "SkuMeter": meter, "SkuPriceId": sku + "/" + strings.ReplaceAll(unit, " ", ""),
		"SubAccountId": v[Team], "SubAccountName": v[Team], "Tags": string(tags),
		"x_BilledReason": v[Billed], "x_UsageSource": v[Source],
	}
	if v[Payer] == "" {
		cells["BillingAccountId"], cells["BillingAccountName"] = "none", ""
	}
	if v[Team] != "" {
		cells["SubAccountType"] = "Team"
	}
	if v[Provider] == "" {
		cells["PublisherName"], cells["HostProviderName"] = "unknown", "Not Applicable"
	}
	for name, r := range map[string]*big.Rat{
		"BilledCost": rat(billed), "EffectiveCost": rat(billed), "ListCost": new(big.Rat).Mul(list, quantity),
		"ContractedCost": new(big.Rat).Mul(contracted, quantity), "ListUnitPrice": list, "ContractedUnitPrice": contracted,
		"PricingQuantity": quantity, "ConsumedQuantity": consumed, "x_BaseCost": rat(l.Base),
		"PricingCurrencyListUnitPrice": list, "PricingCurrencyContractedUnitPrice": contracted, "PricingCurrencyEffectiveCost": rat(billed),
	} {
		text, finite := decimal(r)
		if !finite {
			return nil, fmt.Errorf("%s of %s is no finite decimal", name, sku)
		}
		cells[name] = text
	}
	return cells, nil
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// rat returns an amount in US dollars.
func rat(a price.Amount) *big.Rat {
	r, _ := new(big.Rat).SetString(a.String()) // a plain decimal
	return r
}

// decimal writes a number exactly, with at least one decimal, by which readers recognize its type. It reports whether that is possible.
func decimal(r *big.Rat) (string, bool) {
	if r == nil {
		return "", false
	}
	n, exact := r.FloatPrec()
	return r.FloatString(max(n, 1)), exact
}
