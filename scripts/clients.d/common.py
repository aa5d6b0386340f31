"""What the clients' checks share: the server's token, tools, and a line for each check that passed."""

import os
import sys

URL = sys.argv[1] if len(sys.argv) > 1 else ""
FIND = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "deep": {"type": "boolean"}},
    "required": ["path"],
}
TURNS = 3


def token():
    with open(os.environ["NPAST_TOKEN_FILE"], encoding="ascii") as file:
        return file.read().strip()


def passed(what, prompt, cached):
    print(f"  {what:<46} prompt {prompt:>5}  cached {cached:>5}")


def check(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")
