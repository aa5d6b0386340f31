"""Structured output and required calls: what the model samples is random, and its form is not."""

from typing import Literal

from anthropic import Anthropic
from openai import OpenAI
from pydantic import BaseModel

from common import URL, check, passed, token

openai = OpenAI(base_url=f"{URL}/v1", api_key=token(), max_retries=0)
anthropic = Anthropic(base_url=URL, api_key=token(), max_retries=0)


class Verdict(BaseModel):
    sure: bool
    colour: Literal["red", "green"]


SCHEMA = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}, "colour": {"enum": ["red", "green"]}},
    "required": ["sure", "colour"],
    "additionalProperties": False,
}
ASK = [{"role": "user", "content": "Which colour?"}]

reply = openai.beta.chat.completions.parse(model="npast", messages=ASK, response_format=Verdict, max_tokens=12000)
check(isinstance(reply.choices[0].message.parsed, Verdict), "chat: a parsed reply")
passed("openai chat, parsed", reply.usage.prompt_tokens, reply.usage.prompt_tokens_details.cached_tokens)

reply = openai.responses.parse(model="npast", input="Which colour, then?", text_format=Verdict, max_output_tokens=12000)
check(isinstance(reply.output_parsed, Verdict), "responses: a parsed reply")
passed("openai responses, parsed", reply.usage.input_tokens, reply.usage.input_tokens_details.cached_tokens)

# What is sampled is uncertain, and how likely it was is said.
reply = openai.chat.completions.create(model="npast", messages=ASK, logprobs=True, top_logprobs=3, max_tokens=9)
for one in reply.choices[0].logprobs.content:
    check(one.logprob <= one.top_logprobs[0].logprob + 1e-6, f"chat: logprobs: {one}")
    check(len(one.top_logprobs) == 3, "chat: three likely tokens")
passed("openai chat, logprobs", reply.usage.prompt_tokens, reply.usage.prompt_tokens_details.cached_tokens)

# Completions: the prompt goes on, by text and by tokens.
reply = openai.completions.create(model="npast", prompt="Once upon a time", max_tokens=5, logprobs=2)
choice = reply.choices[0]
check(len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs), "completions: logprobs")
passed("openai completions, a text", reply.usage.prompt_tokens, reply.usage.prompt_tokens_details.cached_tokens)
tokens = openai.post("/tokenize", cast_to=object, body={"content": "Once upon a time there was"})["tokens"]
with openai.completions.create(
    model="npast", prompt=tokens, max_tokens=5, stream=True, stream_options={"include_usage": True}
) as events:
    for event in events:
        usage = event.usage
check(usage.prompt_tokens_details.cached_tokens > 0, f"completions: {usage}")
passed("openai completions, tokens, events", usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens)

# A reply may speak before it calls, and cannot end without a call: it is called, or the reply was cut.
tools = [{"type": "function", "function": {"name": "paint", "parameters": SCHEMA}}]
reply = openai.chat.completions.create(
    model="npast", messages=ASK, tools=tools, tool_choice="required", parallel_tool_calls=False, max_tokens=400
)
choice = reply.choices[0]
check(choice.finish_reason in ("tool_calls", "length"), f"chat: a required call: {choice.finish_reason}")
for call in choice.message.tool_calls or []:
    check(call.function.name == "paint", "chat: a required call")
    Verdict.model_validate_json(call.function.arguments)
passed("openai chat, a required call", reply.usage.prompt_tokens, reply.usage.prompt_tokens_details.cached_tokens)

tools = [{"name": "paint", "input_schema": SCHEMA}]
reply = anthropic.messages.create(
    model="npast", max_tokens=400, messages=ASK, tools=tools, tool_choice={"type": "tool", "name": "paint"}
)
check(reply.stop_reason in ("tool_use", "max_tokens"), f"messages: a required call: {reply.stop_reason}")
for block in reply.content:
    if block.type == "tool_use":
        Verdict.model_validate(block.input)
usage = reply.usage
cached = usage.cache_read_input_tokens
passed("anthropic messages, a required call", usage.input_tokens + cached, cached)
