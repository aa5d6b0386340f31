"""The reload case beside another server: a tool loop of ten steps, then the next user message sent in the
forms in which clients send a reloaded history. Printed are the tokens that each request evaluated.

A model made here writes no tool calls, so its replies are prepared. In the first column npast samples them
(`--script`), as in life. In the others the server samples one token, and the client puts the prepared reply
in its place: each request then also evaluates the reply before it, and both servers have the same to do.

usage: reload.py --npast PROGRAM --tiny-model PROGRAM --work FOLDER [--llama PYTHON] [--classes CLASS,...]

PYTHON is one that can import xllamacpp, which has llama.cpp's server in it: one slot, its default caches.
Only the standard library is used here.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

STEPS = 10
SYSTEM = "You help with code. Read before you answer, and say what you did not check."
LLAMA = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 16384
params.n_parallel = 1
params.port = 0
params.hostnames = ["127.0.0.1"]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def tool(name, text):
    properties = {"path": {"type": "string"}, "from": {"type": "integer"}, "all": {"type": "string"}}
    parameters = {"type": "object", "properties": properties, "required": ["path"]}
    return {"type": "function", "function": {"name": name, "description": text, "parameters": parameters}}


TOOLS = [tool("read_file", "Reads a file."), tool("list_files", "Lists files.")]


def reply(number):
    """The prepared reply of a request: calls in the loop, then text."""
    thought = f"I need part {number}."
    if number >= STEPS:
        return {"role": "assistant", "content": f"\nDone, {number} parts.\n\n", "reasoning_content": thought}
    # In an order that no sorting gives.
    arguments = json.dumps({"path": f"src/part {number}.rs", "from": number, "all": "yes"})
    names = ["read_file", "list_files"] if number % 3 == 0 else ["read_file"]
    calls = [
        {"id": f"call_{number}_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, name in enumerate(names)
    ]
    text = f"Step {number}.\n" if number % 2 == 0 else ""
    return {"role": "assistant", "content": text, "reasoning_content": thought, "tool_calls": calls}


def line(message):
    """The same as a line of a script."""
    calls = [
        {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}
        for call in message.get("tool_calls", [])
    ]
    prepared = {"content": message["content"], "reasoning": message["reasoning_content"]}
    return json.dumps(prepared | ({"tool_calls": calls} if calls else {}))


class Server:
    """A server that can be started again, and the conversation that it led."""

    def __init__(self, name, samples):
        self.name = name
        self.samples = samples
        self.replies = 0
        self.messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": "  Look at all parts, please.\n"},
        ]
        self.process = None
        self.start()

    def start(self):
        command, environment = self.command()
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        first = self.process.stdout.readline()
        if not first:
            sys.exit(f"{self.name} did not start")
        self.url = self.address(first)

    def stop(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(timeout=60)

    def post(self, body):
        data = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=300) as response:
                answer = json.loads(response.read())
                return answer, self.evaluated(answer, response)
        except urllib.error.HTTPError as error:
            sys.exit(f"{self.name}: {error.code} {error.read().decode()[:500]}")

    def ask(self, form):
        """Sends the history in a form, and keeps the reply; the tokens that were evaluated."""
        messages, tools = form(copy.deepcopy(self.messages), copy.deepcopy(TOOLS))
        body = {"model": "tiny", "messages": messages, "tools": tools, "temperature": 0}
        answer, evaluated = self.post(body | {"max_tokens": 1000 if self.samples else 1})
        message = answer["choices"][0]["message"] if self.samples else reply(self.replies)
        self.messages.append(message)
        self.replies += 1
        return message, evaluated


class Npast(Server):
    def __init__(self, program, model, home, samples):
        self.program, self.model, self.home = program, model, home
        super().__init__("npast" if samples else "npast, prepared", samples)

    def command(self):
        command = [self.program, "serve", "--json", "--listen", "127.0.0.1:0", "-m", self.model]
        command += ["--ctx", "16384", "--temp", "0"]
        if self.samples:
            # Each process reads its script from the first line.
            script = f"{self.home}.jsonl"
            with open(script, "w") as file:
                file.write(json.dumps({"job": "side", "content": "Parts"}) + "\n")
                file.writelines(line(reply(number)) + "\n" for number in range(self.replies, 40))
            command += ["--script", script]
        return command, os.environ | {"NPAST_HOME": self.home}

    def address(self, first):
        return json.loads(first)["url"]

    def evaluated(self, answer, response):
        return json.loads(response.headers["x-npast-receipt"])["evaluated"]


class Llama(Server):
    def __init__(self, python, model):
        self.python, self.model = python, model
        super().__init__("llama-server", False)

    def command(self):
        return [self.python, "-c", LLAMA, self.model], os.environ

    def address(self, first):
        return first.strip()

    def evaluated(self, answer, response):
        return answer["timings"]["prompt_n"]


def each(change):
    def form(messages, tools):
        for message in messages:
            change(message)
        return messages, tools

    return form


def as_is(messages, tools):
    return messages, tools


def extra(message):
    message["refusal"] = None
    message["finish_reason"] = "stop"
    for at, call in enumerate(message.get("tool_calls") or []):
        call["index"] = at


def trimmed(message):
    if message.get("content"):
        message["content"] = message["content"].strip()


def renamed(message):
    if "reasoning_content" in message:
        message["reasoning"] = message.pop("reasoning_content")


def unthought(message):
    message.pop("reasoning_content", None)


def rewritten(message):
    for call in message.get("tool_calls") or []:
        value = json.loads(call["function"]["arguments"])
        call["function"]["arguments"] = json.dumps(value, indent=2, sort_keys=True)


def parts(message):
    if message.get("content"):
        message["content"] = [{"type": "text", "text": message["content"]}]


def other_ids(message):
    for call in message.get("tool_calls") or []:
        call["id"] = "toolu_" + call["id"]
    if "tool_call_id" in message:
        message["tool_call_id"] = "toolu_" + message["tool_call_id"]


def reordered(messages, tools):
    return messages, tools[::-1]


def everything(messages, tools):
    for change in (rewritten, trimmed, renamed, other_ids, parts, extra):
        messages, tools = each(change)(messages, tools)
    return reordered(messages, tools)


FORMS = [
    ("(a) as in memory", as_is),
    ("(b) extra fields", each(extra)),
    ("(c) trimmed", each(trimmed)),
    ("(d) reasoning renamed", each(renamed)),
    ("(d) no reasoning", each(unthought)),
    ("(e) arguments rewritten", each(rewritten)),
    ("(f) after a restart", as_is),
    ("(g) after a title request", as_is),
    ("(h) tools reordered", reordered),
    ("(i) contents as parts", each(parts)),
    ("(j) other ids", each(other_ids)),
    ("(k) all of it at once", everything),
]


def title(server):
    first = server.messages[1]["content"]
    messages = [
        {"role": "system", "content": "You write titles."},
        {"role": "user", "content": f"A title for this conversation:\nUSER: {first}"},
    ]
    return server.post({"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 12})[1]


def lead(server):
    """The loop; what each of its requests evaluated."""
    loop = []
    for step in range(STEPS):
        message, evaluated = server.ask(as_is)
        loop.append(evaluated)
        for call in message["tool_calls"]:
            text = f"line 1 of part {step}\n\tline 2 \"quoted\"\n"
            server.messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
    loop.append(server.ask(as_is)[1])
    return loop


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--npast", required=True)
    parser.add_argument("--tiny-model", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--llama")
    parser.add_argument("--classes", default="dense,swa,hybrid,recurrent")
    parser.add_argument("--templates", default="chatml,thinker")
    asked = parser.parse_args()
    for template in asked.templates.split(","):
        for kind in asked.classes.split(","):
            model = os.path.join(asked.work, f"{kind}-{template}.gguf")
            path = f"tests/support/model/{template}.jinja"
            subprocess.run([asked.tiny_model, kind, model, "--template", path], check=True)
            home = os.path.join(asked.work, f"{kind}-{template}")
            servers = [Npast(asked.npast, model, f"{home}-{samples}", samples) for samples in (True, False)]
            if asked.llama:
                servers.append(Llama(asked.llama, model))
            table(f"{kind}, template {template}", servers)


def table(what, servers):
    print(f"\n{what}: tokens evaluated", flush=True)
    print(f"{'':<28}" + "".join(f"{server.name:>17}" for server in servers))
    loops = [lead(server) for server in servers]
    print(f"{'the loop, ' + str(STEPS + 1) + ' requests':<28}" + "".join(f"{sum(loop):>17}" for loop in loops))
    sums = [0] * len(servers)
    for number, (name, form) in enumerate(FORMS):
        cells, beside = [], []
        for at, server in enumerate(servers):
            if "restart" in name:
                server.stop()
                server.start()
            if "title" in name:
                beside.append(title(server))
            server.messages.append({"role": "user", "content": f"And part {number} once more?"})
            _, evaluated = server.ask(form)
            cells.append(evaluated)
            sums[at] += evaluated
        if beside:
            print(f"{'    the title request':<28}" + "".join(f"{cell:>17}" for cell in beside))
        print(f"{name:<28}" + "".join(f"{cell:>17}" for cell in cells), flush=True)
    print(f"{'all forms':<28}" + "".join(f"{cell:>17}" for cell in sums))
    for server in servers:
        server.stop()


main()
