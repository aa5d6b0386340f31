"""LangChain's class for OpenAI: it keeps its own messages, drops thinking and writes calls in its own order.
A tool loop, whole and as events, and structured output by a call."""

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from common import URL, check, passed, token


@tool
def find(path: str, deep: bool) -> str:
    """Finds."""
    return "/b/a"


model = ChatOpenAI(model="npast", base_url=f"{URL}/v1", api_key=token(), max_retries=0, stream_usage=True)
with_tools = model.bind_tools([find])
for stream in (False, True):
    history = [SystemMessage("Be brief."), HumanMessage(f"Where is a, langchain ({stream})?")]
    before = 0
    for step in range(3):
        if stream:
            reply = None
            for chunk in with_tools.stream(history):
                reply = chunk if reply is None else reply + chunk
        else:
            reply = with_tools.invoke(history)
        usage = reply.usage_metadata
        cached = usage["input_token_details"].get("cache_read", 0)
        check(cached >= before, f"langchain, step {step}: {cached} cached of {before} that were there")
        passed(f"langchain, {'events' if stream else 'whole'}, step {step}", usage["input_tokens"], cached)
        before = usage["input_tokens"] + usage["output_tokens"] - 1
        history.append(reply)
        if step == 0:
            call = reply.tool_calls[0]
            check(call["name"] == "find" and call["args"] == {"path": "/", "deep": True}, f"langchain: {call}")
            history.append(ToolMessage(find.invoke(call["args"]), tool_call_id=call["id"]))
        else:
            check(reply.content == ["", "It is in b.", "Yes."][step], f"langchain: {reply.content!r}")
            history.append(HumanMessage("Sure?"))
