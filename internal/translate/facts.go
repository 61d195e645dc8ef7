package translate

// facts are what is known of an upstream's model beyond its API. The zero value is that of a model that is not known: the strict side.
type facts struct{}

// factsOf returns what is known of a model at a provider.
func factsOf(provider, model string) facts { return facts{} }
