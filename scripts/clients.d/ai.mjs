// The ai SDK with its provider for servers that speak as OpenAI does: a tool loop, whole and as events, and
// structured output. usage: node ai.mjs URL loops|forms
import { readFileSync } from 'node:fs'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateObject, generateText, stepCountIs, streamText, tool } from 'ai'
import { z } from 'zod'

const [url, what] = process.argv.slice(2)
const apiKey = readFileSync(process.env.NPAST_TOKEN_FILE, 'utf8').trim()
const provider = createOpenAICompatible({
  name: 'npast', baseURL: `${url}/v1`, apiKey, includeUsage: true, supportsStructuredOutputs: true,
})
const model = provider('npast')

function check (good, words) {
  if (!good) {
    console.error(`FAILED: ${words}`)
    process.exit(1)
  }
}

const passed = (name, usage) => {
  const cached = usage.cachedInputTokens ?? usage.inputTokenDetails?.cacheReadTokens ?? 0
  console.log(`  ${name}: ${usage.inputTokens} prompt, ${cached} cached`)
  return cached
}

async function loop (stream) {
  const find = tool({
    description: 'Finds.',
    inputSchema: z.object({ path: z.string(), deep: z.boolean() }),
    execute: async ({ path, deep }) => {
      check(path === '/' && deep === true, 'ai: arguments')
      return '/b/a'
    },
  })
  const ask = { model, system: 'Be brief.', tools: { find }, stopWhen: stepCountIs(3), maxRetries: 0 }
  const messages = [{ role: 'user', content: `Where is a, ai (${stream})?` }]
  const texts = ['It is in b.', 'Yes.']
  let before = 0
  for (const text of texts) {
    let reply
    if (stream) {
      const result = streamText({ ...ask, messages })
      let said = ''
      for await (const part of result.fullStream) {
        check(part.type !== 'error', `ai: ${JSON.stringify(part)}`)
        if (part.type === 'text-delta') said += part.text
      }
      check(said.endsWith(text), `ai: ${said}`)
      reply = { steps: await result.steps, text: await result.text, response: await result.response }
    } else {
      reply = await generateText({ ...ask, messages })
    }
    check(reply.text === text, `ai: ${reply.text}`)
    for (const step of reply.steps) {
      const cached = passed(`ai, ${stream ? 'events' : 'whole'}`, step.usage)
      check(cached >= before, `ai: ${cached} cached of ${before} that were there`)
      before = step.usage.inputTokens + step.usage.outputTokens - 1
    }
    messages.push(...reply.response.messages, { role: 'user', content: 'Sure?' })
  }
}

if (what === 'loops') {
  await loop(false)
  await loop(true)
} else {
  const schema = z.object({ sure: z.boolean(), colour: z.enum(['red', 'green']) })
  const reply = await generateObject({ model, schema, prompt: 'Which colour?', maxRetries: 0, maxOutputTokens: 12000 })
  check(schema.safeParse(reply.object).success, `ai: ${JSON.stringify(reply.object)}`)
  passed('ai, an object', reply.usage)
}
