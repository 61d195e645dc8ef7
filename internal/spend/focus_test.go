package spend

import (
	"context"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/record"
)

// Rules of FOCUS' columns: FOCUS_Spec tag v1.2, specification/columns, and for the columns that 1.3 and 1.4 add,
// specification/datasets/cost_and_usage/columns. Those not named are texts that may be null.
var (
	focusDecimals = []string{
		"BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity", "CommitmentDiscountQuantity", "ConsumedQuantity",
		"ContractedUnitPrice", "ListUnitPrice", "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice",
	}
	focusTimes   = []string{"BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"}
	focusNotNull = []string{
		"BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd",
		"BillingAccountId", "BillingCurrency", "ChargeCategory", "InvoiceIssuerName", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
		"HostProviderName", "ServiceProviderName",
		// of rows with the category Usage
		"SkuId", "SkuPriceId", "PricingQuantity", "PricingUnit", "ListUnitPrice", "ContractedUnitPrice", "ConsumedQuantity", "ConsumedUnit",
	}
	focusValues = map[string][]string{
		"ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}, "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
		"ChargeClass": {"Correction"}, "PricingCategory": {"Standard", "Dynamic", "Committed", "Other"}, "BillingCurrency": {"USD"}, "PricingCurrency": {"USD"},
		"ServiceCategory": {"AI and Machine Learning"}, "ServiceSubcategory": {"Generative AI"},
		"PricingUnit": {"Tokens", "Requests", "Images", "Pages", "Seconds", "Characters", "US Dollars"},
	}
)

func TestFocus(t *testing.T) {
	b, err := OpenFile(t.TempDir(), Options{Now: func() time.Time { return clock }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	r := sample(1, clock)
	r.Cost, r.BaseCost = "1.1", "1"
	r.Lines = []record.Line{
		{Kind: "input", Count: "1000", Price: "2.5", Per: "million", Base: "0.0025", Cost: "0.00275"},
		{Kind: "web_searches", Count: "3", Price: "0.01", Per: "one", Base: "0.03", Cost: "0.033"},
		{Kind: "milliseconds", Count: "90.5", Price: "0.006", Per: "minute", Base: "0.00905", Cost: "0.009955"},
		{Kind: "milliseconds", Count: "7", Price: "0.111", Per: "hour", Base: "0.000215833333333", Cost: "0.000237416666666", Model: "whisper"},
		{Kind: "total", Count: "3", Base: "0.5", Cost: "0.55"},
	}
	unbilled := sample(6, clock.Add(-24*time.Hour))
	unbilled.Payer, unbilled.NotBilled, unbilled.Team, unbilled.Provider = "", record.NotBilledPayer, "", ""
	apply(t, b, "spool", 0, r, unbilled)
	rows, err := b.Query(context.Background(), Query{Since: clock.Add(-48 * time.Hour).Truncate(24 * time.Hour), Each: Day, By: FocusDimensions, Lines: true})
	require.NoError(t, err)
	require.Len(t, rows, 2)

	for version, want := range map[string]int{"1.2": 57, "1.3": 57 + 8, "1.4": 57 + 8 + 2 - 2} {
		columns, err := FocusColumns(version)
		require.NoError(t, err)
		standard := slices.DeleteFunc(slices.Clone(columns), func(c string) bool { return strings.HasPrefix(c, "x_") })
		require.Len(t, standard, want)
		require.True(t, slices.IsSorted(standard))
		require.Equal(t, standard, columns[:want], "own columns are behind the standard ones")
		billed := new(big.Rat)
		for i := range rows {
			list, err := Focus(&rows[i], "Acme")
			require.NoError(t, err)
			for _, cells := range list {
				checkFocusRow(t, cells)
				billed.Add(billed, parsed(t, cells["BilledCost"]))
				for name := range cells {
					if version == "1.3" {
						require.Contains(t, columns, name)
					}
				}
				// Null for charges without a commitment, and until there is an invoice.
				for _, name := range []string{"CommitmentProgramEligibilityDetails", "ContractApplied", "InvoiceDetailId", "InvoiceId"} {
					require.Empty(t, cells[name], name)
				}
			}
		}
		require.Equal(t, "1.10", billed.FloatString(2), "what is not billed costs nobody anything")
	}
	newest, err := FocusColumns("1.4")
	require.NoError(t, err)
	require.Subset(t, newest, []string{"CommitmentProgramEligibilityDetails", "InvoiceDetailId", "HostProviderName", "ServiceProviderName"})
	require.NotContains(t, newest, "ProviderName")
	require.NotContains(t, newest, "PublisherName")
	_, err = FocusColumns("1.5")
	require.ErrorIs(t, err, ErrQuery)
}

func checkFocusRow(t *testing.T, cells map[string]string) {
	t.Helper()
	for _, name := range focusNotNull {
		require.NotEmpty(t, cells[name], name)
	}
	for _, name := range focusDecimals {
		if cells[name] != "" {
			require.Regexp(t, `^\d+\.\d+$`, cells[name], name)
		}
	}
	for _, name := range focusTimes {
		_, err := time.Parse("2006-01-02T15:04:05Z", cells[name])
		require.NoError(t, err)
	}
	for name, values := range focusValues {
		if cells[name] != "" {
			require.Contains(t, values, cells[name], name)
		}
	}
	for _, kind := range []string{"List", "Contracted"} {
		product := new(big.Rat).Mul(parsed(t, cells[kind+"UnitPrice"]), parsed(t, cells["PricingQuantity"]))
		require.Zero(t, product.Cmp(parsed(t, cells[kind+"Cost"])), "%s: %v", kind, cells)
	}
	var tags map[string]string
	require.NoError(t, json.Unmarshal([]byte(cells["Tags"]), &tags))
	require.Less(t, cells["ChargePeriodStart"], cells["ChargePeriodEnd"])
	require.LessOrEqual(t, cells["BillingPeriodStart"], cells["ChargePeriodStart"])
	require.GreaterOrEqual(t, cells["BillingPeriodEnd"], cells["ChargePeriodEnd"])
}

func parsed(t *testing.T, text string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(text)
	require.True(t, ok, text)
	return r
}
