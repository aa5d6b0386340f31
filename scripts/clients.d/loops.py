"""A tool loop in each API with its official client, whole and as events. The history is what the
client itself keeps; each request must find all but its new messages cached."""

import json

from anthropic import Anthropic
from openai import AuthenticationError, BadRequestError, OpenAI

from common import FIND, URL, check, passed, token

openai = OpenAI(base_url=f"{URL}/v1", api_key=token(), max_retries=0)
anthropic = Anthropic(base_url=URL, api_key=token(), max_retries=0)
CHAT_TOOLS = [{"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": FIND}}]
RESPONSE_TOOLS = [{"type": "function", "name": "find", "description": "Finds.", "parameters": FIND, "strict": False}]
MESSAGE_TOOLS = [{"name": "find", "description": "Finds.", "input_schema": FIND}]


def chat(stream):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Where is a ({stream})?"}]
    before = 0
    for step in range(3):
        ask = dict(model="npast", messages=messages, tools=CHAT_TOOLS)
        if stream:
            with openai.beta.chat.completions.stream(**ask, stream_options={"include_usage": True}) as events:
                for _ in events:
                    pass
                reply = events.get_final_completion()
        else:
            reply = openai.chat.completions.create(**ask)
        message, usage = reply.choices[0].message, reply.usage
        cached = usage.prompt_tokens_details.cached_tokens
        check(cached >= before, f"chat, step {step}: {cached} cached of {before} that were there")
        passed(f"openai chat, {'events' if stream else 'whole'}, step {step}", usage.prompt_tokens, cached)
        before = usage.prompt_tokens + usage.completion_tokens - 1
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        if step == 0:
            check(message.tool_calls[0].function.name == "find", "chat: a call")
            check(json.loads(message.tool_calls[0].function.arguments) == {"path": "/", "deep": True}, "chat: arguments")
            messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "/b/a"})
        else:
            check(message.content == ["", "It is in b.", "Yes."][step], f"chat: {message.content!r}")
            messages.append({"role": "user", "content": "Sure?"})


def responses(stream):
    history = [{"role": "user", "content": f"Where is a, responses ({stream})?"}]
    before = 0
    for step in range(3):
        ask = dict(model="npast", input=history, tools=RESPONSE_TOOLS, instructions="Be brief.", store=False)
        if stream:
            with openai.responses.stream(**ask) as events:
                for _ in events:
                    pass
                reply = events.get_final_response()
        else:
            reply = openai.responses.create(**ask)
        check(reply.status == "completed", f"responses: {reply.status}")
        usage = reply.usage
        cached = usage.input_tokens_details.cached_tokens
        check(cached >= before, f"responses, step {step}: {cached} cached of {before} that were there")
        passed(f"openai responses, {'events' if stream else 'whole'}, step {step}", usage.input_tokens, cached)
        before = usage.input_tokens + usage.output_tokens - 1
        history += [item.model_dump(exclude_none=True) for item in reply.output]
        if step == 0:
            call = [item for item in reply.output if item.type == "function_call"][0]
            check(json.loads(call.arguments) == {"path": "/", "deep": True}, "responses: arguments")
            history.append({"type": "function_call_output", "call_id": call.call_id, "output": "/b/a"})
        else:
            check(reply.output_text == ["", "It is in b.", "Yes."][step], f"responses: {reply.output_text!r}")
            history.append({"role": "user", "content": "Sure?"})


def by_id():
    first = openai.responses.create(model="npast", input="Where is a, by id?", tools=RESPONSE_TOOLS)
    call = [item for item in first.output if item.type == "function_call"][0]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "/b/a"}
    second = openai.responses.create(model="npast", input=[result], tools=RESPONSE_TOOLS, previous_response_id=first.id)
    check(second.output_text == "It is in b.", f"by id: {second.output_text!r}")
    third = openai.responses.create(model="npast", input="Sure?", tools=RESPONSE_TOOLS, previous_response_id=second.id)
    check(third.output_text == "Yes.", f"by id: {third.output_text!r}")
    passed("openai responses by id", third.usage.input_tokens, third.usage.input_tokens_details.cached_tokens)


def messages(stream):
    history = [{"role": "user", "content": f"Where is a, messages ({stream})?"}]
    before = 0
    for step in range(3):
        ask = dict(model="npast", max_tokens=500, system="Be brief.", messages=history, tools=MESSAGE_TOOLS)
        if stream:
            with anthropic.messages.stream(**ask) as events:
                for _ in events:
                    pass
                reply = events.get_final_message()
        else:
            reply = anthropic.messages.create(**ask)
        usage = reply.usage
        cached = usage.cache_read_input_tokens
        prompt = usage.input_tokens + cached
        check(cached >= before, f"messages, step {step}: {cached} cached of {before} that were there")
        passed(f"anthropic messages, {'events' if stream else 'whole'}, step {step}", prompt, cached)
        before = prompt + usage.output_tokens - 1
        history.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in reply.content]})
        if step == 0:
            check(reply.stop_reason == "tool_use", f"messages: {reply.stop_reason}")
            check(reply.content[0].type == "thinking" and reply.content[0].signature, "messages: signed thinking")
            call = [block for block in reply.content if block.type == "tool_use"][0]
            check(call.input == {"path": "/", "deep": True}, "messages: arguments")
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "/b/a"}
            history.append({"role": "user", "content": [result]})
        else:
            check(reply.stop_reason == "end_turn", f"messages: {reply.stop_reason}")
            check(reply.content[-1].text == ["", "It is in b.", "Yes."][step], f"messages: {reply.content!r}")
            history.append({"role": "user", "content": "Sure?"})
    counted = anthropic.messages.count_tokens(model="npast", messages=[{"role": "user", "content": "Hi"}])
    check(counted.input_tokens > 0, "messages: a count")


def lite():
    try:
        import litellm
    except ImportError:
        print("  litellm is not there")
        return
    for stream in (False, True):
        history = [{"role": "user", "content": f"Where is a, litellm ({stream})?"}]
        before = 0
        for step in range(3):
            ask = dict(model="openai/npast", api_base=f"{URL}/v1", api_key=token(), messages=history, tools=CHAT_TOOLS)
            if stream:
                chunks = list(litellm.completion(**ask, stream=True, stream_options={"include_usage": True}))
                reply = litellm.stream_chunk_builder(chunks, messages=history)
            else:
                reply = litellm.completion(**ask)
            message, usage = reply.choices[0].message, reply.usage
            cached = usage.prompt_tokens_details.cached_tokens
            check(cached >= before, f"litellm, step {step}: {cached} cached of {before} that were there")
            passed(f"litellm, {'events' if stream else 'whole'}, step {step}", usage.prompt_tokens, cached)
            before = usage.prompt_tokens + usage.completion_tokens - 1
            history.append(message.model_dump(exclude_none=True))
            if step == 0:
                history.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "/b/a"})
            else:
                history.append({"role": "user", "content": "Sure?"})


def refused():
    wrong = OpenAI(base_url=f"{URL}/v1", api_key="sk-none", max_retries=0)
    try:
        wrong.models.list()
        check(False, "a wrong token was taken")
    except AuthenticationError as error:
        check(error.status_code == 401, "a wrong token")
    try:
        openai.chat.completions.create(model="npast", messages=[{"role": "user", "content": "x"}], n=2)
        check(False, "n = 2 was taken")
    except BadRequestError as error:
        check(error.param == "n", f"n = 2: {error}")
    check(openai.models.list().data[0].id == "tiny", "the model's name")
    check(anthropic.models.list().data[0].id == "tiny", "the model's name, as Anthropic has it")


for way in (False, True):
    chat(way)
for way in (False, True):
    responses(way)
by_id()
for way in (False, True):
    messages(way)
lite()
refused()
