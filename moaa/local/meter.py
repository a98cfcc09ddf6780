"""What a run on this machine has spent by now: what the store says, and the attempts that go on."""

from dataclasses import dataclass, field

from moaa.api import MoAA
from moaa.contract.progress import Figures
from moaa.plan.budget.spent import Account, Spent, tokens_of
from moaa.plan.result import Identity
from moaa.run.records import Attempt, run_id
from moaa.run.spending import after_attempt, of_manifest
from moaa.store.stages.manifest import StageManifest

Key = tuple[str, str]


@dataclass
class Meter:
    """Filled by the attempts of a run."""

    ended: dict[Key, Spent] = field(default_factory=dict)
    """By stage and fingerprint, of attempts that are over and of manifests."""
    live: dict[Key, Spent] = field(default_factory=dict)
    """Of the attempt that goes on: its GPU time alone, and the tokens of all attempts."""

    spared: dict[Key, float] = field(default_factory=dict)
    """GPU-seconds of servers that attempts of this runner let go before their jobs ended."""

    @property
    def account(self) -> Account:
        return {**self.ended, **{key: _with(self.ended.get(key, Spent()), spent) for key, spent in self.live.items()}}

    def saw(self, identity: Identity, figures: Figures, *, gpu_seconds: float) -> None:
        """How far the attempt under way is, and what its servers have been held for so far."""
        tokens = tokens_of(figures.get("prompt_spent", {}), figures.get("completion_spent", {}))
        self.live[_key(identity)] = Spent(gpu_seconds, tokens)

    def end(self, identity: Identity, attempt: Attempt) -> None:
        """The attempt is over, and this is its record."""
        key = _key(identity)
        self.live.pop(key, None)
        self.ended[key] = after_attempt(self.ended.get(key, Spent()), attempt)
        self.spared[key] = self.spared.get(key, 0.0) + attempt.spared_gpu_seconds

    def finish(self, identity: Identity, manifest: StageManifest, resource: MoAA) -> None:
        """The stage is done; its manifest may know of calls that no attempt had told. `resource` declares the servers
        that it got."""
        if manifest.run == run_id(resource):
            key = _key(identity)
            made = of_manifest(manifest, identity.stage, resource, {}, spared_gpu_seconds=self.spared.get(key, 0.0))
            self.ended[key] = self.ended.get(key, Spent()).at_least(made)


def _with(before: Spent, live: Spent) -> Spent:
    return (before + Spent(live.gpu_seconds)).at_least(Spent(tokens=live.tokens))


def _key(identity: Identity) -> Key:
    return identity.stage.id, identity.fingerprint
