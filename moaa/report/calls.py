"""How the calls went, by stage and model: what was cut, lowered, thought or failed, in the server's words."""

from collections.abc import Iterator

from moaa.report.provenance import public_text
from moaa.report.schema import CallFailure, CallsSummary
from moaa.report.wording import plural
from moaa.run.students import student_label
from moaa.run.view import RunView, StageView
from moaa.store.stages.manifest import TokenUsage


def calls(view: RunView) -> list[CallsSummary]:
    """One entry for each model that a finished stage asked."""
    student = view.resource.spec.student
    return [
        _calls(stage, student_label(name, student), usage)
        for stage in view.stages
        if stage.manifest
        for name, usage in sorted(stage.manifest.usage.items())
    ]


def _calls(stage: StageView, model: str, usage: TokenUsage) -> CallsSummary:
    return CallsSummary(
        stage=stage.stage.id,
        iteration=stage.stage.iteration,
        model=model,
        calls=usage.calls,
        reused=usage.reused,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        uncounted=usage.uncounted,
        thoughts=usage.thoughts,
        lowered=usage.lowered,
        cut=dict(sorted(usage.cut.items())),
        failures=[
            CallFailure(reason=reason, calls=count, example=public_text(usage.examples.get(reason, "")) or None)
            for reason, count in sorted(usage.failures.items(), key=lambda item: (-item[1], item[0]))
        ],
    )


def call_notes(view: RunView) -> Iterator[str]:
    """Sentences about models whose answers were cut, whose budgets were lowered, or whose endpoint counts no tokens."""
    for entry in calls(view):
        asked = entry.calls + entry.reused
        where = f"{entry.stage}: of {plural(asked, 'call')} to {entry.model}"
        if entry.cut:
            roles = ", ".join(f"{count} as {role}" for role, count in entry.cut.items())
            yield f"{where}, {sum(entry.cut.values())} ended at the limit of tokens ({roles}); raise maxTokens there."
        if entry.lowered:
            yield (
                f"{where}, {entry.lowered} were allowed fewer tokens than maxTokens says, because the prompt "
                "filled the window; raise maxModelLen."
            )
        if entry.uncounted:
            yield (
                f"{where}, {entry.uncounted} came back without a count of tokens, so tokens and cost are shown too low."
            )
