"""How every judge did, on anchors, in training and in evaluation: from rows, tallies and trails to the summary."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from moaa.api import MoAA
from moaa.evaluate.anchors import accuracy_by_subset, floors, judge_figures, reward_bench_sections, shortfall
from moaa.plan.graph import anchored_judges, benchmarks
from moaa.plan.students import measure, resolved_judge
from moaa.report.schema import AnchorSummary, JudgeSummary, OrderSummary, Role
from moaa.rows import AnchorRow
from moaa.run.tally import Orders, Tally
from moaa.run.trail import Heard, Trail
from moaa.run.view import RunView, StageView


def judges(view: RunView) -> list[JudgeSummary]:
    """By stage and benchmark: the method as a whole, then every judge and role in the order in which rows have them."""
    return [row for stage in view.stages for row in (*_of_training(view, stage), *_of_evaluation(view, stage))]


def anchored(view: RunView) -> list[AnchorSummary]:
    """Judges as they were measured before anything rested on them, in the order of `moaa.anchors.judges`."""
    return [
        row
        for stage in view.stages
        if stage.stage.id in view.anchors
        for row in _anchored(stage, stage.resource or view.resource, view.anchors[stage.stage.id])
    ]


def _anchored(stage: StageView, resource: MoAA, rows: Sequence[AnchorRow]) -> Iterator[AnchorSummary]:
    measured, said = anchored_judges(resource), resource.spec.anchors
    held = floors(said, measured) if said is not None else {}
    for one, figures in zip(measured, judge_figures(rows, measured), strict=True):
        subsets = accuracy_by_subset(rows, one.name)
        yield AnchorSummary(
            stage=stage.stage.id,
            method=one.form,
            declared=list(one.fields),
            members=list(one.members),
            floor=float(held[one.name][1]) or None if one.name in held else None,
            shortfall=shortfall(figures, held[one.name][1]) if one.name in held else None,
            is_whole=stage.manifest is not None,
            subsets=subsets,
            sections=reward_bench_sections(subsets),
            **vars(figures),
        )


def consistency(view: RunView, stage: str, *, benchmark: str, model: str) -> float | None:
    """Position consistency of the comparisons behind a score; None where no judge was asked or none answered."""
    trail = view.trails.get(stage)
    together = trail.methods.get((benchmark, model)) if trail else None
    return together.consistency if together else None


def _of_training(view: RunView, stage: StageView) -> Iterator[JudgeSummary]:
    tally = view.tallies.get(stage.stage.id)
    if tally is None:
        return
    judge = view.spec_of(stage).judge
    alike = tally.alike / tally.met if tally.met else None
    yield _row(stage, str(judge.method) if judge else "unknown", "method", tally.verdicts, agreement=alike)
    trail = view.trails.get(stage.stage.id)
    if trail is not None:
        yield from _alone(stage, trail, "", _sides(view, stage, tally))


def _of_evaluation(view: RunView, stage: StageView) -> Iterator[JudgeSummary]:
    trail = view.trails.get(stage.stage.id)
    resource = stage.resource or view.resource
    for benchmark in benchmarks(resource.spec):
        name = benchmark.name
        judge = measure(benchmark, resource, stage.stage).judge
        if judge is None or trail is None or name not in trail.comparisons:
            continue
        together = sum((found for (of, _), found in trail.methods.items() if of == name), Orders())
        if any(of == name for of, _ in trail.methods):
            yield _row(stage, str(judge.method), "method", together, benchmark=name)
        yield from _alone(stage, trail, name, {})


def _alone(stage: StageView, trail: Trail, benchmark: str, sides: Mapping[str, float]) -> Iterator[JudgeSummary]:
    """Every judge by itself; `sides` says how often one sides with the panel."""
    for (of, role, judge), heard in trail.judges.items():
        if of != benchmark:
            continue
        is_verdict = role == "verdict"
        yield _row(
            stage,
            judge,
            cast(Role, role),
            heard.orders if is_verdict else None,
            benchmark=benchmark or None,
            heard=heard,
            agreement=sides.get(judge) if is_verdict else None,
        )


def _sides(view: RunView, stage: StageView, tally: Tally) -> dict[str, float]:
    """Of every judge of a panel: how often it agrees with the panel when both are certain."""
    resource = stage.resource or view.resource
    judge = resource.spec.judge
    panel = resolved_judge(judge, resource, stage.stage).judges if judge else []
    # Without a panel the tally has no votes, and with one it has those of every judge in order.
    counts = zip(panel, tally.sided, tally.compared, strict=False)
    return {one.model: sided / compared for one, sided, compared in counts if compared}


def _row(
    stage: StageView,
    judge: str,
    role: Role,
    orders: Orders | None,
    *,
    benchmark: str | None = None,
    heard: Heard | None = None,
    agreement: float | None = None,
) -> JudgeSummary:
    return JudgeSummary(
        stage=stage.stage.id,
        iteration=stage.stage.iteration,
        benchmark=benchmark,
        judge=judge,
        role=role,
        asked=heard.asked if heard else None,
        failures=dict(heard.failures.most_common()) if heard else {},
        orders=_orders(orders) if orders else None,
        order_bias=heard.bias / heard.weighed if heard and heard.weighed else None,
        mass=heard.mass / heard.weighed if heard and heard.weighed else None,
        agreement=agreement,
    )


def _orders(orders: Orders) -> OrderSummary:
    return OrderSummary(
        comparisons=orders.valid + orders.missing,
        agreed=orders.agreed,
        first_place_won=orders.first,
        second_place_won=orders.second,
        no_verdict=orders.missing,
        position_consistency=orders.consistency,
        first_place_share=orders.first_share,
    )
