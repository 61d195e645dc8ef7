// Calls the gateway at $GATEWAY with the key $KEY by the official SDKs of JavaScript and by the `ai` SDK, as docs/clients.md
// configures them. Each call asks for a model of its own, named after the call, and prints a line of JSON: the model and the counts that the
// SDK showed, or none where it showed none. Calls that are free have no counts and "free".

import assert from 'node:assert/strict'

const { GATEWAY, KEY } = process.env
const TEXT = 'Hello there'
const WRONG = 'sk-not-of-the-gateway'
const weather = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }

const report = (model, counts = {}) => console.log(JSON.stringify({ model, free: counts === 'free', counts: counts === 'free' ? {} : counts }))
const counted = (model, input, output) => report(model, { input, ...(output === undefined ? {} : { output }) })

// refused checks what the user of an SDK sees when the key is wrong.
async function refused(call, check) {
  await assert.rejects(call, (e) => {
    check(e)
    assert.match(String(e.message) + JSON.stringify(e.body ?? e.responseBody ?? ''), /Authentication Error/)
    return true
  })
}

async function openaiSDK() {
  const { default: OpenAI, AzureOpenAI } = await import('openai')
  process.env.OPENAI_BASE_URL = GATEWAY + '/v1'
  process.env.OPENAI_API_KEY = KEY
  const client = new OpenAI()
  const messages = [{ role: 'user', content: 'Hello' }]

  let r = await client.chat.completions.create({ model: 'openai-chat', messages })
  assert.equal(r.choices[0].message.content, TEXT)
  counted('openai-chat', r.usage.prompt_tokens, r.usage.completion_tokens)

  let text = ''
  for await (const c of await client.chat.completions.create({ model: 'openai-stream', messages, stream: true })) {
    assert(c.choices.length && !('usage' in c), 'a trace of usage that nobody asked for')
    text += c.choices[0].delta.content ?? ''
  }
  assert.equal(text, TEXT)
  report('openai-stream')

  const tools = [{ type: 'function', function: { name: 'weather', parameters: weather } }]
  r = await client.chat.completions.create({ model: 'openai-tool-call', messages, tools })
  const call = r.choices[0].message.tool_calls[0]
  assert.equal(call.function.name, 'weather')
  counted('openai-tool-call', r.usage.prompt_tokens, r.usage.completion_tokens)
  const done = [...messages, r.choices[0].message, { role: 'tool', tool_call_id: call.id, content: 'rain' }]
  r = await client.chat.completions.create({ model: 'openai-tool-result', messages: done, tools })
  assert.equal(r.choices[0].message.content, TEXT)
  counted('openai-tool-result', r.usage.prompt_tokens, r.usage.completion_tokens)

  r = await client.responses.create({ model: 'openai-response', input: 'Hello' })
  assert.equal(r.output_text, TEXT)
  counted('openai-response', r.usage.input_tokens, r.usage.output_tokens)
  const stream = client.responses.stream({ model: 'openai-response-stream', input: 'Hello' })
  r = await stream.finalResponse()
  assert.equal(r.output_text, TEXT)
  counted('openai-response-stream', r.usage.input_tokens, r.usage.output_tokens)

  r = await client.embeddings.create({ model: 'openai-embedding', input: ['Hello'] })
  assert.deepEqual(Array.from(r.data[0].embedding), [0.5, 0.25])
  counted('openai-embedding', r.usage.prompt_tokens)
  await client.moderations.create({ model: 'openai-moderation', input: 'Hello' })
  report('openai-moderation', 'free')
  const file = new File([new Uint8Array(100)], 'a.wav')
  assert.equal((await client.audio.transcriptions.create({ model: 'openai-transcription', file })).text, TEXT)
  report('openai-transcription')

  const names = []
  for await (const m of client.models.list()) names.push(m.id)
  assert(names.includes('openai-known'))

  delete process.env.OPENAI_BASE_URL
  const azure = new AzureOpenAI({ endpoint: GATEWAY, apiKey: KEY, apiVersion: '2025-04-01-preview' })
  r = await azure.chat.completions.create({ model: 'openai-azure', messages })
  counted('openai-azure', r.usage.prompt_tokens, r.usage.completion_tokens)

  await refused(
    () => new OpenAI({ apiKey: WRONG, baseURL: GATEWAY + '/v1' }).chat.completions.create({ model: 'openai-refused', messages }),
    (e) => assert(e instanceof OpenAI.AuthenticationError && e.requestID),
  )
}

async function anthropicSDK() {
  const { default: Anthropic } = await import('@anthropic-ai/sdk')
  process.env.ANTHROPIC_BASE_URL = GATEWAY
  process.env.ANTHROPIC_API_KEY = KEY
  const client = new Anthropic()
  const messages = [{ role: 'user', content: 'Hello' }]

  let r = await client.messages.create({ model: 'claude-message', max_tokens: 100, messages })
  assert.equal(r.content[0].text, TEXT)
  counted('claude-message', r.usage.input_tokens, r.usage.output_tokens)

  const stream = client.messages.stream({ model: 'claude-stream', max_tokens: 100, messages })
  assert.equal(await stream.finalText(), TEXT)
  const { usage } = await stream.finalMessage()
  counted('claude-stream', usage.input_tokens, usage.output_tokens)

  const tools = [{ name: 'weather', input_schema: weather }]
  r = await client.messages.create({ model: 'claude-tool-call', max_tokens: 100, messages, tools })
  assert.deepEqual(r.content[0].input, { city: 'Oslo' })
  counted('claude-tool-call', r.usage.input_tokens, r.usage.output_tokens)
  const result = { role: 'user', content: [{ type: 'tool_result', tool_use_id: r.content[0].id, content: 'rain' }] }
  const done = [...messages, { role: 'assistant', content: r.content }, result]
  r = await client.messages.create({ model: 'claude-tool-result', max_tokens: 100, messages: done, tools })
  assert.equal(r.content[0].text, TEXT)
  counted('claude-tool-result', r.usage.input_tokens, r.usage.output_tokens)

  assert.equal((await client.messages.countTokens({ model: 'claude-count', messages })).input_tokens, 11)
  report('claude-count', 'free')

  const names = []
  for await (const m of client.models.list({ limit: 2 })) names.push(m.id)
  assert(names.length > 2 && new Set(names).size === names.length && names.includes('claude-known'), names.join())

  await refused(
    () => new Anthropic({ apiKey: WRONG }).messages.create({ model: 'claude-refused', max_tokens: 9, messages }),
    (e) => assert(e instanceof Anthropic.AuthenticationError && e.requestID),
  )
}

async function googleSDK() {
  const { GoogleGenAI } = await import('@google/genai')
  const client = new GoogleGenAI({ apiKey: KEY, httpOptions: { baseUrl: GATEWAY } })

  let r = await client.models.generateContent({ model: 'gemini-generate', contents: 'Hello' })
  assert.equal(r.text, TEXT)
  counted('gemini-generate', r.usageMetadata.promptTokenCount, r.usageMetadata.candidatesTokenCount)

  let text = '', usage
  for await (const c of await client.models.generateContentStream({ model: 'gemini-stream', contents: 'Hello' })) {
    text += c.text ?? ''
    usage = c.usageMetadata ?? usage
  }
  assert.equal(text, TEXT)
  counted('gemini-stream', usage.promptTokenCount, usage.candidatesTokenCount)

  assert.equal((await client.models.countTokens({ model: 'gemini-count', contents: 'Hello' })).totalTokens, 11)
  report('gemini-count', 'free')
  r = await client.models.embedContent({ model: 'gemini-embed', contents: ['Hello'] })
  assert.deepEqual(r.embeddings[0].values, [0.5, 0.25])
  counted('gemini-embed', 11)

  const names = []
  for await (const m of await client.models.list({ config: { pageSize: 2 } })) names.push(m.name)
  assert(names.length > 2 && new Set(names).size === names.length && names.includes('models/gemini-known'), names.join())

  const vertex = new GoogleGenAI({ vertexai: true, apiKey: KEY, httpOptions: { baseUrl: GATEWAY } })
  r = await vertex.models.generateContent({ model: 'gemini-vertex', contents: 'Hello' })
  counted('gemini-vertex', r.usageMetadata.promptTokenCount, r.usageMetadata.candidatesTokenCount)

  await refused(
    () => new GoogleGenAI({ apiKey: WRONG, httpOptions: { baseUrl: GATEWAY } }).models.generateContent({ model: 'gemini-refused', contents: 'Hello' }),
    (e) => assert.equal(e.status, 401),
  )
}

async function mistralSDK() {
  const { Mistral } = await import('@mistralai/mistralai')
  const client = new Mistral({ serverURL: GATEWAY, apiKey: KEY })
  const messages = [{ role: 'user', content: 'Hello' }]

  let r = await client.chat.complete({ model: 'mistral-chat', messages })
  assert.equal(r.choices[0].message.content, TEXT)
  counted('mistral-chat', r.usage.promptTokens, r.usage.completionTokens)

  let text = '', usage
  for await (const { data } of await client.chat.stream({ model: 'mistral-stream', messages })) {
    text += data.choices[0].delta.content ?? ''
    usage = data.usage ?? usage
  }
  assert.equal(text, TEXT)
  counted('mistral-stream', usage.promptTokens, usage.completionTokens)

  r = await client.fim.complete({ model: 'mistral-fim', prompt: 'def', suffix: 'end' })
  counted('mistral-fim', r.usage.promptTokens, r.usage.completionTokens)
  r = await client.embeddings.create({ model: 'mistral-embed', inputs: ['Hello'] })
  counted('mistral-embed', r.usage.promptTokens)
  r = await client.ocr.process({ model: 'mistral-ocr', document: { type: 'document_url', documentUrl: 'https://x.example/a.pdf' } })
  report('mistral-ocr', { pages: r.usageInfo.pagesProcessed })
  assert((await client.models.list()).data.some((m) => m.id === 'mistral-known'))

  await refused(
    () => new Mistral({ serverURL: GATEWAY, apiKey: WRONG }).chat.complete({ model: 'mistral-refused', messages }),
    (e) => assert.equal(e.statusCode, 401),
  )
}

async function cohereSDK() {
  const { CohereClient, CohereClientV2 } = await import('cohere-ai')
  const options = { environment: GATEWAY, token: KEY }
  const client = new CohereClientV2(options)
  const messages = [{ role: 'user', content: 'Hello' }]

  let r = await client.chat({ model: 'cohere-chat', messages })
  assert.equal(r.message.content[0].text, TEXT)
  counted('cohere-chat', r.usage.billedUnits.inputTokens, r.usage.billedUnits.outputTokens)
  let text = ''
  for await (const e of await client.chatStream({ model: 'cohere-stream', messages })) {
    if (e.type === 'content-delta') text += e.delta.message.content.text
    if (e.type === 'message-end') counted('cohere-stream', e.delta.usage.billedUnits.inputTokens, e.delta.usage.billedUnits.outputTokens)
  }
  assert.equal(text, TEXT)
  r = await client.embed({ model: 'cohere-embed', texts: ['Hello'], inputType: 'search_query', embeddingTypes: ['float'] })
  counted('cohere-embed', r.meta.billedUnits.inputTokens)
  r = await client.rerank({ model: 'cohere-rerank', query: 'Hello', documents: ['a', 'b'] })
  report('cohere-rerank', { search_units: r.meta.billedUnits.searchUnits })
  assert((await client.models.list()).models.some((m) => m.name === 'cohere-known'))

  const old = new CohereClient(options)
  r = await old.chat({ model: 'cohere-v1-chat', message: 'Hello' })
  assert.equal(r.text, TEXT)
  counted('cohere-v1-chat', r.meta.billedUnits.inputTokens, r.meta.billedUnits.outputTokens)
  text = ''
  for await (const e of await old.chatStream({ model: 'cohere-v1-stream', message: 'Hello' })) {
    if (e.eventType === 'text-generation') text += e.text
  }
  assert.equal(text, TEXT)
  report('cohere-v1-stream')
  r = await old.rerank({ model: 'cohere-v1-rerank', query: 'Hello', documents: ['a', 'b'] })
  report('cohere-v1-rerank', { search_units: r.meta.billedUnits.searchUnits })

  await refused(
    () => new CohereClientV2({ ...options, token: WRONG }).chat({ model: 'cohere-refused', messages }),
    (e) => assert.equal(e.statusCode, 401),
  )
}

async function groqSDK() {
  const { default: Groq } = await import('groq-sdk')
  process.env.GROQ_BASE_URL = GATEWAY
  process.env.GROQ_API_KEY = KEY
  const client = new Groq()
  const messages = [{ role: 'user', content: 'Hello' }]

  const r = await client.chat.completions.create({ model: 'groq-chat', messages })
  assert.equal(r.choices[0].message.content, TEXT)
  counted('groq-chat', r.usage.prompt_tokens, r.usage.completion_tokens)
  let text = ''
  for await (const c of await client.chat.completions.create({ model: 'groq-stream', messages, stream: true })) text += c.choices[0].delta.content ?? ''
  assert.equal(text, TEXT)
  report('groq-stream')
  assert((await client.models.list()).data.some((m) => m.id === 'groq-known'))

  await refused(
    () => new Groq({ apiKey: WRONG }).chat.completions.create({ model: 'groq-refused', messages }),
    (e) => assert.equal(e.status, 401),
  )
}

async function aiSDK() {
  const { generateText, streamText, embed, rerank, tool, jsonSchema, isStepCount, stepCountIs } = await import('ai')
  const { createOpenAI } = await import('@ai-sdk/openai')
  const { createAnthropic } = await import('@ai-sdk/anthropic')
  const { createGoogleGenerativeAI } = await import('@ai-sdk/google')
  const { createMistral } = await import('@ai-sdk/mistral')
  const { createCohere } = await import('@ai-sdk/cohere')
  const { createGroq } = await import('@ai-sdk/groq')
  const { createOpenAICompatible } = await import('@ai-sdk/openai-compatible')

  const v1 = { baseURL: GATEWAY + '/v1', apiKey: KEY }
  const openai = createOpenAI(v1)
  const models = {
    'openai-ai-response': openai('openai-ai-response'),
    'openai-ai-chat': openai.chat('openai-ai-chat'),
    'openai-ai-compatible': createOpenAICompatible({ ...v1, name: 'gw' })('openai-ai-compatible'),
    'claude-ai': createAnthropic(v1)('claude-ai'),
    'gemini-ai': createGoogleGenerativeAI({ ...v1, baseURL: GATEWAY + '/v1beta' })('gemini-ai'),
    'mistral-ai': createMistral(v1)('mistral-ai'),
    'cohere-ai': createCohere({ ...v1, baseURL: GATEWAY + '/v2' })('cohere-ai'),
    'groq-ai': createGroq({ ...v1, baseURL: GATEWAY + '/openai/v1' })('groq-ai'),
  }
  for (const [name, model] of Object.entries(models)) {
    const r = await generateText({ model, prompt: 'Hello' })
    assert.equal(r.text, TEXT)
    if (name === 'cohere-ai') report(name) // it shows all tokens, and not those that Cohere bills
    else counted(name, r.usage.inputTokens, r.usage.outputTokens)
  }

  const s = streamText({ model: openai.chat('openai-ai-stream'), prompt: 'Hello' })
  let text = ''
  for await (const t of s.textStream) text += t
  assert.equal(text, TEXT)
  const usage = await s.usage
  counted('openai-ai-stream', usage.inputTokens, usage.outputTokens)

  // A tool call and its result are two calls of the same model.
  const stop = (isStepCount ?? stepCountIs)(3)
  let called
  const tools = { weather: tool({ description: 'weather', inputSchema: jsonSchema(weather), execute: async (input) => (called = input) && 'rain' }) }
  const r = await generateText({ model: createAnthropic(v1)('claude-ai-tools'), prompt: 'Hello', tools, stopWhen: stop })
  assert.equal(r.text, TEXT)
  assert.deepEqual(called, { city: 'Oslo' })
  assert.equal(r.steps.length, 2)
  for (const step of r.steps) counted('claude-ai-tools', step.usage.inputTokens, step.usage.outputTokens)

  const e = await embed({ model: openai.textEmbeddingModel?.('openai-ai-embed') ?? openai.embeddingModel('openai-ai-embed'), value: 'Hello' })
  assert.deepEqual(e.embedding, [0.5, 0.25])
  counted('openai-ai-embed', e.usage.tokens)

  await refused(
    () => generateText({ model: createOpenAI({ ...v1, apiKey: WRONG })('openai-ai-refused'), prompt: 'Hello' }),
    (e) => assert.equal(e.statusCode, 401),
  )
}

for (const sdk of [openaiSDK, anthropicSDK, googleSDK, mistralSDK, cohereSDK, groqSDK, aiSDK]) {
  if ((process.env.ONLY ?? sdk.name) === sdk.name) await sdk()
}
