"""From the names that a stage asks to the servers that answer for them. Brings weights to this machine."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from moaa.api import MoAA
from moaa.contract.environment import secret_value
from moaa.contract.vllm import chat_arguments, kv_cache_bytes
from moaa.errors import DataError, ServerError, StoreError
from moaa.local.serving import needs, vllm
from moaa.local.serving.server import ServerSpec, replica_key
from moaa.plan.forecast.throughput import declared
from moaa.plan.ids import RESOLVE
from moaa.plan.result import StageResult
from moaa.store.objects.base import Store
from moaa.weights import hub
from moaa.weights.bring import Places, bring
from moaa.weights.find import ModelWeights, find
from moaa.weights.folder import read_config, size_gib
from moaa.weights.served import served_name

Results = Mapping[str, StageResult]


def server_key(found: ModelWeights) -> str:
    """Same weights served in the same way: one server, whatever its names are."""
    how = found.serving.model_dump_json(include={"gpus", "max_model_len", "max_concurrency", "args", "memory_gib"})
    return hashlib.sha256(f"{found.digest} {how} {chat_arguments(found.model)}".encode()).hexdigest()


class Catalogue:
    """Knows each model's folder, server and size. It may remember them, since a digest never changes meaning."""

    def __init__(self, resource: MoAA, *, store: Store, cache: Path, environment: Mapping[str, str]) -> None:
        self._resource = resource
        self._store = store
        self._cache = cache
        self._environment = environment
        self._commits: dict[str, dict[str, str]] = {}
        self._folders: dict[str, Path] = {}
        self._served: dict[str, str] = {}
        """By key. One name for all replicas, whichever of the model's names brought them up."""
        self._fetching = asyncio.Lock()

    async def servers(self, names: Iterable[str], results: Results) -> dict[str, ServerSpec]:
        """The first server that we run for each of `names`; endpoints of others are left out.

        Raises:
            DataError: a model is not where the resource says, or not what the run pinned.
            ServerError: its weights could not be brought; worth another attempt.
        """
        specs: dict[str, ServerSpec] = {}
        for name in names:
            found = await self._find(name, results)
            if found is None:
                continue
            folder = await self._folder(found)
            serving = found.serving
            cache_gib = kv_cache_bytes(read_config(folder), serving.max_model_len) / 1024**3
            key = server_key(found)
            specs[name] = ServerSpec(
                key=key,
                name=self._served.setdefault(key, served_name(name)),
                folder=folder,
                serving=serving,
                chat=tuple(chat_arguments(found.model)),
                demand=needs.server(serving, weights_gib=size_gib(folder), cache_gib=cache_gib),
                startup_s=serving.startup_minutes * 60.0,
                kind=found.model.kind,
            )
        return specs

    async def known_servers(self, names: Iterable[str], results: Results) -> dict[str, ServerSpec]:
        """`servers` for those of `names` whose weights are known by now."""
        return await self.servers([name for name in names if _is_known(name, results)], results)

    async def keys(self, names: Iterable[str], results: Results, served: MoAA) -> list[str]:
        """Keys of the servers for those of `names` whose weights are known by now: as many replicas as `served`
        declares. Fetches nothing."""
        known = [name for name in names if _is_known(name, results)]
        found = {name: await self._find(name, results) for name in known}
        return [
            replica_key(server_key(one), number)
            for name, one in found.items()
            if one is not None
            for number in range(1, declared(name, served).serving.replicas + 1)
        ]

    async def size_gib(self, name: str, results: Results) -> float:
        """Size of a model's weights. Raises as `servers`."""
        found = await self._find(name, results)
        return 0.0 if found is None else size_gib(await self._folder(found))

    async def _find(self, name: str, results: Results) -> ModelWeights | None:
        found = find(name, self._resource, results, commits=await self._pinned(results))
        return found if isinstance(found, ModelWeights) else None

    async def _folder(self, found: ModelWeights) -> Path:
        async with self._fetching:  # two stages that start together must not fetch the same weights twice
            if found.digest not in self._folders:
                self._folders[found.digest] = await self._bring(found)
            return self._folders[found.digest]

    async def _bring(self, found: ModelWeights) -> Path:
        secret = found.model.token_secret
        places = Places(
            store=self._store,
            storage=self._resource.spec.storage,
            cache=self._cache / "weights",
            hub=Path(self._environment.get("HF_HUB_CACHE") or self._cache / "hub"),
            token=secret_value(secret, self._environment) if secret else None,
        )
        try:
            return await bring(found, places)
        except StoreError as error:  # tried again as a server's failure; a StoreError would end the run
            raise ServerError(str(error)) from error

    async def _pinned(self, results: Results) -> dict[str, str]:
        """Commits of hf:// models as resolve pinned them."""
        resolved = results[RESOLVE]
        if resolved.fingerprint not in self._commits:
            self._commits[resolved.fingerprint] = await hub.pinned_commits(self._store, self._resource, results)
        return self._commits[resolved.fingerprint]


def _is_known(name: str, results: Results) -> bool:
    return RESOLVE in results and (not name.startswith("@") or name[1:] in results)


class VllmLaunch:
    """How the runner starts a server for a spec (`moaa.local.serving.server.Launch`)."""

    def __init__(self, *, cache: Path, inherited: Mapping[str, str]) -> None:
        self._cache = cache
        self._inherited = inherited

    def __call__(self, spec: ServerSpec, *, port: int, gpus: Iterable[str]) -> tuple[list[str], dict[str, str]]:
        try:
            config = read_config(spec.folder)
        except DataError as error:
            raise ServerError(str(error)) from error
        command = vllm.command(
            spec.folder,
            served_name=spec.name,
            serving=spec.serving,
            port=port,
            config=config,
            chat=spec.chat,
        )
        return command, vllm.environment(self._inherited, serving=spec.serving, gpus=list(gpus), cache=self._cache)
