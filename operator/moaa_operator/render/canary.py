"""Prove that a vLLM server answers. The probes of a server run this file's text.

Standard library only: it runs inside vLLM's image, where MoAA is not installed. `/health` alone is green before a chat
template was ever rendered, and while the engine gives no token any more. Exit code 0: it answers.

    python canary.py start PORT MODEL FILE          /health, then one real token
    python canary.py start PORT MODEL FILE score    /health, then one real score, of a reward model
    python canary.py alive PORT FILE                /health, and tokens as long as requests wait for them

A token that was asked for would wait behind all others in a full queue, so `alive` counts those of all requests: it
fails when there are requests and not one token, of prompts or answers, came for `STALL_S`. FILE remembers the last.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

TIMEOUT_S = 55
"""For one token: the first request may still compile something."""
STALL_S = 600
"""A prompt of full length on a slow CPU takes minutes."""
ASKED = ("vllm:num_requests_running", "vllm:num_requests_waiting")
DONE = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")


def start(port: str, model: str, file: str, what: str = "token") -> int:
    path, held = ("/pooling", "data") if what == "score" else ("/v1/chat/completions", "choices")
    messages = [{"role": "user", "content": "Hello"}]
    asked: dict[str, object] = {"model": model, "messages": messages}
    if what == "score":
        messages.append({"role": "assistant", "content": "Hello"})
    else:
        asked["max_tokens"] = 1
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    if os.path.exists(file):  # of the process before this one
        os.remove(file)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
        pass
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        return 0 if json.load(response).get(held) else 1


def alive(port: str, file: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
        pass
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode(errors="replace")
    asked, done, now = figure(text, ASKED), figure(text, DONE), time.monotonic()
    if asked is None or done is None:
        sys.stdout.write("the server counts no requests or tokens; only /health was looked at\n")
        return 0
    last = read(file)
    if asked == 0 or last is None or last[0] != done:
        with open(file, "w", encoding="utf-8") as out:
            json.dump([done, now], out)
        return 0
    if now - last[1] < STALL_S:
        return 0
    sys.stdout.write(f"{asked:.0f} requests and no token in {now - last[1]:.0f} s\n")
    return 1


def figure(text: str, names: "tuple[str, ...]") -> "float | None":
    """The sum of these metrics over all labels; None: one of them is not there."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in names:
            found[name] = found.get(name, 0.0) + float(line.rpartition(" ")[2])
    return sum(found.values()) if len(found) == len(names) else None


def read(file: str) -> "tuple[float, float] | None":
    """Tokens at the last change, and when that was."""
    try:
        with open(file, encoding="utf-8") as kept:
            done, since = json.load(kept)
    except (OSError, ValueError):  # none yet, or the probe was killed while it wrote
        return None
    return float(done), float(since)


def main(what: str, *arguments: str) -> int:
    try:
        return start(*arguments) if what == "start" else alive(*arguments)
    except urllib.error.HTTPError as error:
        # The body says why, and ends up in the pod's events.
        sys.stdout.write(f"{error.url} answered {error.code}: {error.read(500).decode(errors='replace')}\n")
    except (OSError, ValueError) as error:
        sys.stdout.write(f"no answer yet: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
