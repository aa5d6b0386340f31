"""What a summary of a long conversation costs, on a tiny dense model: npast's way, on a fork of the live
sequence; the separate way, a request of its own from an empty cache and then the new conversation from an
empty cache; and llama-server (in the wheel xllamacpp) as clients usually drive it. All in one run, one
after the other, by what receipts and responses say.

usage: compress.py NPAST MODEL TOKENS WORK [SERVER-PYTHON]
"""

import json
import os
import shutil
import subprocess
import sys
import urllib.request

SYSTEM = "You are a careful assistant. " + " ".join(f"Rule {n}: be brief and exact." for n in range(40))
NEXT = "And what follows from that?"
LIMIT_ABOVE = 4096  # room for the instruction and the summary

# Starts the server in a Python that has the wheel, says its address, and serves until its input ends.
SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.port = sys.argv[1], int(sys.argv[2]), 1, 0
params.hostnames = ["127.0.0.1"]
for cpu in (params.cpuparams, params.cpuparams_batch):
    cpu.n_threads = int(sys.argv[3])
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def words(seed, count):
    return " ".join(str((i * i * 7 + seed * 131) % 997) for i in range(count))


class Npast:
    """The program on a data folder of its own."""

    def __init__(self, program, model, limit, threads, home, work):
        self.args = ["-m", model, "--ctx", str(limit), "--threads", str(threads)]
        self.program, self.home, self.work = program, home, work

    def run(self, args, lines):
        script = os.path.join(self.work, "script.jsonl")
        with open(script, "w", encoding="utf-8") as out:
            out.write("\n".join(json.dumps(line) for line in lines))
        env = {"HOME": self.work, "NPAST_HOME": self.home, "PATH": os.environ["PATH"]}
        ran = subprocess.run([self.program, *args, *self.args, "--script", script], env=env,
                             stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ran.returncode != 0:
            sys.exit(f"npast failed: {ran.stdout[-800:]}{ran.stderr}")
        events = [json.loads(line) for line in ran.stdout.splitlines()]
        return [event for event in events if event["type"] == "receipt"]

    def say(self, text, reply):
        args = ["--json", "--session", "work", "--system", SYSTEM, "--compress", "off"]
        return self.run([*args, text], [{"content": reply}])[-1]

    def compress(self, summary):
        return self.run(["sessions", "compress", "work", "--json"],
                        [{"job": "compress", "content": summary}])

    def forget(self):
        shutil.rmtree(os.path.join(self.home, "kv"), ignore_errors=True)


def cost(receipts):
    spent = [r["ms"]["restore"] + r["ms"]["prefill"] + r["ms"]["decode"] for r in receipts]
    return sum(r["evaluated"] for r in receipts), sum(r["restored"] for r in receipts), sum(spent) / 1000


class Server:
    """llama-server, as a client of its API sees it."""

    def __init__(self, python, model, limit, threads, work):
        self.said = open(os.path.join(work, "server.log"), "w")
        self.process = subprocess.Popen([python, "-c", SERVER, model, str(limit), str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said,
                                        text=True)
        for line in self.process.stdout:
            if line.startswith("http"):
                self.address = line.strip()
                return
        sys.exit("llama-server did not start; see " + self.said.name)

    def chat(self, messages, tokens):
        body = {"messages": messages, "max_tokens": tokens, "temperature": 0, "ignore_eos": True,
                "cache_prompt": True}
        request = urllib.request.Request(self.address + "/v1/chat/completions", json.dumps(body).encode(),
                                         {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=1800) as response:
            timings = json.load(response)["timings"]
        seconds = (timings["prompt_ms"] + timings["predicted_ms"]) / 1000
        return timings["prompt_n"], timings.get("cache_n", 0), seconds

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)


def main():
    program, model, tokens, work = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    python = sys.argv[5] if len(sys.argv) > 5 else None
    limit, threads = tokens + LIMIT_ABOVE, int(os.environ.get("NPAST_THREADS") or os.cpu_count() or 1)
    live = Npast(program, model, limit, threads, os.path.join(work, "live"), work)
    history, at, receipt = [], 0, None
    while receipt is None or receipt["context"] < tokens - 1200:
        text, reply = f"Fact {at}: {words(at, 300)}", f"Noted {at}: {words(at + 500, 40)}"
        receipt = live.say(text, reply)
        history += [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
        at += 1
    length = receipt["context"]
    summary = "Goal\nkeep facts\nDone\n" + words(7, 120)

    # The separate way has the same conversation, and nothing of its KV.
    apart = Npast(program, model, limit, threads, os.path.join(work, "apart"), work)
    shutil.copytree(live.home, apart.home)
    made = live.compress(summary)
    written = next(r["generated"] for r in made if r["kind"] == "fork")
    print(f"\na summary of {written} tokens of a conversation of {length:,} tokens, on {threads} threads; "
          "evaluated tokens (found in memory or on disk), seconds:")
    print(f"{'':<40} {'summary':>30} {'new conversation, next message':>34}")

    def row(name, ask, go):
        cell = lambda c: f"{c[0]:>8,} ({c[1]:>7,}) {c[2]:>8.2f} s"
        print(f"{name:<40} {cell(ask):>30} {cell(go):>34}", flush=True)
        return ask[0]

    # The last one reads the new conversation; before the fork a new process puts the old one back.
    fork = row("npast, on a fork", cost(made[:-1]), cost(made[-1:] + [live.say(NEXT, "This.")]))
    apart.forget()
    made = apart.compress(summary)
    asked = cost(made[:-1])
    apart.forget()
    alone = row("npast, a separate request", asked, cost([apart.say(NEXT, "This.")]))
    share = 100 * fork / alone

    if python:
        server = Server(python, model, limit, threads, work)
        system = {"role": "system", "content": SYSTEM}
        server.chat([system, *history], 1)
        text = "\n\n".join(f"{m['role']}: {m['content']}" for m in history)
        # As agents do it: another system prompt, and the conversation as text.
        ask = [{"role": "system", "content": "You summarize conversations."},
               {"role": "user", "content": f"Summarize this conversation.\n\n{text}"}]
        after = lambda words: [
            system, *history[:2], {"role": "user", "content": f"Summary so far:\n{words}"},
            {"role": "assistant", "content": "I go on from there."}, *history[-8:],
            {"role": "user", "content": NEXT}]
        row("llama-server, the usual way", server.chat(ask, written), server.chat(after(summary), 1))
        # At its best: the instruction behind the conversation that its cache holds.
        server.chat([system, *history], 1)
        ask = [system, *history, {"role": "user", "content": "Summarize this conversation."}]
        # Another summary: its cache would have the one before.
        row("llama-server, in the same conversation", server.chat(ask, written),
            server.chat(after(summary[::-1]), 1))
        server.end()

    print(f"the summary on a fork evaluates {share:.2f} % of what a separate request does")
    if share >= 2:
        sys.exit("that is more than the 2 % that are aimed at")


main()
