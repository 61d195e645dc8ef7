// Answers, line by line, what genai-prices makes of each question: a call to price, or a base URL to recognise.
// Usage: node oracle.mjs <the package's index.js> < questions
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const { calcPrice, findProvider } = await import(pathToFileURL(process.argv[2]))
const answers = []
for (const line of readFileSync(0, 'utf8').split('\n')) {
  if (!line) continue
  const q = JSON.parse(line)
  if (q.url) {
    answers.push({ provider: findProvider({ providerApiUrl: q.url })?.id ?? '' })
    continue
  }
  const usage = Object.fromEntries(Object.entries(q.usage).map(([k, v]) => [k, Number(v)]))
  try {
    const r = calcPrice(usage, q.model, { providerId: q.provider, timestamp: new Date(q.ms) })
    answers.push(r
      ? { provider: r.provider.id, model: r.model.id, total: r.total_price, keys: Object.keys(r.model_price) }
      : { error: 'not found', total: 0 })
  } catch (e) {
    answers.push({ error: String(e), total: 0 })
  }
}
process.stdout.write(answers.map(a => JSON.stringify(a)).join('\n') + '\n')
