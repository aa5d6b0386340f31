"""The prepared replies of loops.py: one tool loop after the other."""

import json

# One each for: chat, responses, messages, litellm and langchain, whole and as events; responses by id; the ai SDK.
LOOPS = 13

for _ in range(LOOPS):
    call = {"name": "find", "arguments": {"path": "/", "deep": True}}
    print(json.dumps({"reasoning": "Where?", "content": "I look.", "tool_calls": [call]}))
    print(json.dumps({"reasoning": "There.", "content": "It is in b."}))
    print(json.dumps({"content": "Yes."}))
