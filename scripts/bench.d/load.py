"""Clients of all manners on one server, for some seconds; see scripts/load.

usage: load.py PROGRAM FOLDER SECONDS     (FOLDER has tiny.gguf, and gets the server's data)
Only the standard library is used here.
"""

import http.client
import json
import os
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time

CLIENTS = 64
CONTEXT = 8192
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "description": "Finds.",
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
        },
    }
]


class Failed(Exception):
    """A request that should have gone well."""


class Server:
    def __init__(self, program, folder):
        self.home = os.path.join(folder, "home")
        self.log = open(os.path.join(folder, "stderr"), "w+")
        command = [program, "serve", "--json", "--listen", "127.0.0.1:0", "-m", os.path.join(folder, "tiny.gguf")]
        self.process = subprocess.Popen(
            command + ["--ctx", str(CONTEXT), "--no-thinking"],
            env=os.environ | {"NPAST_HOME": self.home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the server did not start")
        self.address = json.loads(line)["url"].removeprefix("http://")

    def resident(self):
        """MiB of memory that the process holds."""
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        raise Failed("the server is gone")

    def connect(self):
        return http.client.HTTPConnection(self.address, timeout=600)

    def post(self, body, path="/v1/chat/completions"):
        connection = self.connect()
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(f"{response.status} {response.read()[:300]!r}")
        return connection, response

    def whole(self, body):
        connection, response = self.post(body)
        answer = json.loads(response.read())
        connection.close()
        return answer

    def text(self, body):
        """The text of a streamed reply, which must come to its end."""
        connection, response = self.post(body | {"stream": True})
        said, ended = "", False
        for line in response:
            line = line.decode().strip()
            if line == "data: [DONE]":
                ended = True
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                if "error" in data:
                    raise Failed(f"in a stream: {data['error']}")
                for choice in data.get("choices", []):
                    said += choice["delta"].get("content") or ""
        connection.close()
        if not ended:
            raise Failed("a stream without an end")
        return said


def words(chance, count):
    return " ".join(chance.choice(["parser", "file", "line", "test", "why", "the", "of"]) for _ in range(count))


def talk(server, chance, over):
    """A conversation, streamed, with a tool loop in it now and then."""
    tools = {"tools": TOOLS} if chance.random() < 0.4 else {}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": words(chance, 12)}]
    for turn in range(chance.randint(2, 7)):
        if over():
            return
        if tools and chance.random() < 0.5:
            # A reply of another program's, with a call, and its result.
            call = {"id": f"call_{turn}", "type": "function", "function": {"name": "find", "arguments": '{"path": "/"}'}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": f"call_{turn}", "content": words(chance, 30)})
        said = server.text({"messages": messages, "max_tokens": chance.randint(1, 40)} | tools)
        messages.append({"role": "assistant", "content": said})
        messages.append({"role": "user", "content": words(chance, chance.randint(1, 20))})


def leave(server, chance, over):
    """Reads the beginning of a long reply, and goes away."""
    body = {"messages": [{"role": "user", "content": words(chance, 20)}], "max_tokens": 3000, "stream": True}
    connection, response = server.post(body)
    for _ in range(chance.randint(0, 6)):
        response.readline()
    connection.sock and connection.sock.close()
    response.close()
    connection.close()


def slow(server, chance, over):
    """Reads a reply in small pieces, with pauses."""
    host, port = server.address.split(":")
    body = json.dumps({"messages": [{"role": "user", "content": words(chance, 9)}], "max_tokens": 300, "stream": True})
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        own.settimeout(600)
        own.connect((host, int(port)))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        own.sendall((head + body).encode())
        came = b""
        while piece := own.recv(512):
            came += piece
            if not over():
                time.sleep(0.02)
    if b" 200 " not in came[:20] or b"data: [DONE]" not in came:
        raise Failed(f"a slow reader got {came[:200]!r} … {came[-200:]!r}")


def title(server, chance, over):
    """A conversation's message, a title about it, and the next message."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": words(chance, 12)}]
    said = server.text({"messages": messages, "max_tokens": 12})
    asked = [
        {"role": "system", "content": "You write titles."},
        {"role": "user", "content": f"A title for:\nUSER: {messages[1]['content']}"},
    ]
    server.whole({"messages": asked, "max_tokens": 20})
    messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "And now?"}]
    server.text({"messages": messages, "max_tokens": 12})


def long(server, chance, over):
    """A message that takes half of the context."""
    messages = [{"role": "user", "content": words(chance, 1200)}]
    server.text({"messages": messages, "max_tokens": 4})


def responses(server, chance, over):
    """Responses that go on from each other."""
    body = {"input": words(chance, 9), "max_output_tokens": 12}
    for _ in range(3):
        connection, response = server.post(body, "/v1/responses")
        answer = json.loads(response.read())
        connection.close()
        body |= {"input": "And now?", "previous_response_id": answer["id"]}


MANNERS = [talk] * 36 + [leave] * 8 + [slow] * 8 + [title] * 6 + [long] * 2 + [responses] * 4


def client(server, number, manner, until, failures, counts):
    chance = random.Random(number)

    def over():
        return time.monotonic() > until

    while not over() and not failures:
        try:
            manner(server, chance, over)
            counts[manner.__name__] = counts.get(manner.__name__, 0) + 1
        except (Failed, OSError, http.client.HTTPException) as error:
            failures.append(f"{manner.__name__}: {type(error).__name__}: {error}")


def latency(server):
    """How long a short request takes alone, and while a long prompt is read; milliseconds."""
    chance = random.Random(1)

    def short(number):
        begun = time.monotonic()
        server.whole({"messages": [{"role": "user", "content": f"{number}: {words(chance, 5)}"}], "max_tokens": 2})
        return (time.monotonic() - begun) * 1000

    alone = statistics.median(short(n) for n in range(5))
    took = []

    def read():
        begun = time.monotonic()
        server.whole({"messages": [{"role": "user", "content": words(chance, 1300)}], "max_tokens": 1})
        took.append((time.monotonic() - begun) * 1000)

    beside = []
    for n in range(5):
        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.02)
        beside.append(short(100 + n))
        reader.join()
    print(
        f"a short request: {alone:.0f} ms alone, {statistics.median(beside):.0f} ms while a prompt is read that takes "
        f"{statistics.median(took):.0f} ms",
        flush=True,
    )


def accounts(home):
    """Whether every receipt in the database adds up; how many there are."""
    database = sqlite3.connect(f"file:{home}/npast.db?mode=ro", uri=True)
    count, wrong = 0, []
    for session, text in database.execute("SELECT session, json FROM receipts ORDER BY session, id"):
        receipt = json.loads(text)
        count += 1
        prompt = receipt["kept"] + receipt["restored"] + receipt["evaluated"]
        if receipt["context"] != prompt + receipt["generated"] - receipt["pending"]:
            wrong.append((session, "context", receipt))
        if receipt["evaluated"] > receipt["appended"] and not (receipt["miss"] or {}).get("reason"):
            wrong.append((session, "a miss without a reason", receipt))
    sums = "SELECT s.name, s.calls, s.evaluated, s.restored, s.kept, s.generated, coalesce(sum(json_extract(r.json, '$.call') > 0), 0)"
    for field in ["evaluated", "restored", "kept", "generated"]:
        sums += f", coalesce(sum(json_extract(r.json, '$.{field}')), 0)"
    for name, *both in database.execute(sums + " FROM sessions s LEFT JOIN receipts r ON r.session = s.id GROUP BY s.id"):
        if both[:5] != both[5:]:
            wrong.append((name, "sums", both))
    misses = database.execute("SELECT count(*) FROM receipts WHERE json_extract(json, '$.miss') IS NOT NULL").fetchone()[0]
    sessions = database.execute("SELECT count(*) FROM sessions").fetchone()[0]
    database.close()
    print(f"{count} receipts of {sessions} sessions add up but {len(wrong)}; {misses} name a miss")
    for one in wrong[:5]:
        print("wrong:", one)
    return not wrong


def main():
    program, folder, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    server = Server(program, folder)
    print(f"{CLIENTS} clients, {seconds} s; the server holds {server.resident():.0f} MiB", flush=True)
    latency(server)
    failures, counts, held = [], {}, []
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=client, args=(server, n, MANNERS[n], until, failures, counts)) for n in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    while time.monotonic() < until and not failures:
        time.sleep(min(1.0, seconds / 40))
        held.append(server.resident())
    for thread in threads:
        thread.join()
    print("done: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    held.append(server.resident())
    quarter = len(held) // 4
    early, late = max(held[quarter : 2 * quarter] or held), max(held[3 * quarter :])
    print(f"memory: {held[0]:.0f} MiB at first, {early:.0f} in the second quarter, {late:.0f} in the last one")
    server.process.terminate()
    code = server.process.wait(timeout=120)
    good = accounts(server.home)
    for failure in failures:
        print("failed:", failure)
    if code != 0:
        print(f"the server ended with {code}")
    # What is bounded does not grow with time; the first quarter fills what is bounded.
    grew = late > 1.15 * early + 32
    if grew:
        print("memory grew")
    if failures or code != 0 or not good or grew:
        server.log.seek(0)
        print(server.log.read()[-2000:])
        sys.exit(1)
    print("All went well.")


main()
