"""The command line and the environment of one vLLM server. Pure: nothing here starts or reads anything.

On a CPU, what makes a start cheap was measured with vLLM 0.32 on two cores (a 2-layer Llama, time to the first
completion, CPU seconds of all its processes): as it comes 68; with compiled bytecode kept 27, since each of its three
processes imports the same 2,000 modules; with the engine and its worker in one process 17.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from moaa.api.models import Serving
from moaa.contract.environment import CREDENTIALS
from moaa.contract.vllm import CPU_ENVIRONMENT, ENVIRONMENT, MODULE, arguments, options_for
from moaa.local.processes.bytecode import keep_bytecode
from moaa.local.serving.machine import visible


def command(
    folder: Path,
    *,
    served_name: str,
    serving: Serving,
    port: int,
    config: Mapping[str, object],
    chat: Sequence[str] = (),
    python: str = "",
) -> list[str]:
    """How to start a server on 127.0.0.1:`port` for the model in `folder`; `config` is its config.json.

    `chat` is what `moaa.contract.vllm.chat_arguments` gives; `serving.args` come last and win.
    """
    options = [text for name, value in options_for(config, serving).items() for text in (f"--{name}", value)]
    start = [python or sys.executable, "-m", MODULE, "--model", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    return [*start, *options, *arguments(serving, served_name=served_name, chat=chat)]


def environment(inherited: Mapping[str, str], *, serving: Serving, gpus: Sequence[str], cache: Path) -> dict[str, str]:
    """The server's whole environment; `gpus` are the devices it may see."""
    env = {name: value for name, value in inherited.items() if not name.startswith(CREDENTIALS)}
    env = keep_bytecode(env, cache=cache) | ENVIRONMENT
    env["VLLM_CACHE_ROOT"] = inherited.get("VLLM_CACHE_ROOT", str(cache / "vllm"))
    env |= visible(inherited, gpus)
    if serving.gpus == 0:
        env |= {name: inherited.get(name, value) for name, value in CPU_ENVIRONMENT.items()}
    return env
