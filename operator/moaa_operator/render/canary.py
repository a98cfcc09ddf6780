"""Prove that a vLLM server answers: /health, then one real token. The startup probe of a server runs this file's text.

Standard library only: it runs inside vLLM's image, where MoAA is not installed. `/health` alone is green before a chat
template was ever rendered. Exit code 0: it answered.

    python canary.py PORT MODEL
"""

import json
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 55
"""For one token: the first request may still compile something."""


def main(port: str, model: str) -> int:
    base = f"http://127.0.0.1:{port}"
    chat = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    request = urllib.request.Request(
        f"{base}/v1/chat/completions", json.dumps(chat).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(f"{base}/health", timeout=5):
            pass
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            answered = bool(json.load(response).get("choices"))
    except urllib.error.HTTPError as error:
        # The body says why, and ends up in the pod's events.
        sys.stdout.write(f"{error.url} answered {error.code}: {error.read(500).decode(errors='replace')}\n")
        return 1
    except (OSError, ValueError) as error:
        sys.stdout.write(f"no answer yet: {error}\n")
        return 1
    return 0 if answered else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
