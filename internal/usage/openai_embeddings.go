package usage

// OpenAI embeddings, and the APIs made after them: usage follows a list of vectors that may be megabytes long, and counts
// input alone.
var openAIEmbeddings = &format{root: openAIRoot(), counts: openAIChatCounts}
