"""The report as one HTML file: nothing is loaded, nothing runs, and all text of users and models is escaped.

A content security policy in the page forbids scripts and connections, should an escape ever be missed.
"""

import json
import re
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from moaa.evaluate.told import points
from moaa.report import figures, page, provenance, said, wording
from moaa.report.figures import Figure
from moaa.report.provenance import public_resource, public_text
from moaa.report.schema import Summary
from moaa.run.view import RunView

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
SECTIONS = (
    ("result", "Result"),
    ("recipe", "What was run"),
    ("data", "Data"),
    ("scores", "Scores by iteration"),
    ("mixture", "The mixture and its members"),
    ("anchors", "Judges on anchors"),
    ("judging", "Judging"),
    ("lengths", "Answer lengths"),
    ("training", "Training"),
    ("conversations", "Sample conversations"),
    ("verdicts", "Sample verdicts"),
    ("said", "What judges said"),
    ("answers", "What changed in the answers"),
    ("promotion", "Promotion"),
    ("time", "Time, tokens, cost"),
    ("failures", "Failures"),
    ("provenance", "Models and licences"),
    ("missing", "What this report cannot show"),
)


def render(view: RunView, summary: Summary) -> str:
    """The whole page."""
    resource, spec = public_resource(view.resource), view.resource.spec
    return page_text(
        _environment(),
        "template.html.j2",
        view=view,
        spec=spec,
        summary=summary,
        sections=_sections(view, summary),
        resource_json=json.dumps(resource, indent=2, ensure_ascii=False),
        totals=page.totals(summary.stages),
        export_command=page.export_command(view),
        usage_lines=page.usage_lines(view),
        score_groups=page.score_groups(view, summary),
        field=page.field_table(view, summary),
        examples=[page.example(stage, row) for stage, rows in view.conversations.items() for row in rows],
        authors=provenance.authors(view),
        answers=None if spec.mixture is None else provenance.how_answers(spec.mixture),
        samples=None if spec.training.dpo is None else provenance.whose_samples(spec, spec.training.dpo),
        pairs_kept="" if spec.training.dpo is None else provenance.which_pairs(spec.training.dpo.pairs),
        pair_rules=provenance.pair_rules(summary.pairs),
        score_outcomes=provenance.score_outcomes(summary.pairs),
        verdicts=page.verdicts(view),
        said_groups=said.groups(view),
        warned=page.warned(summary),
        judge_groups=page.judge_groups(summary),
        best_alone=page.best_alone(summary),
        said_chars=said.SAID_CHARS,
        **_figures(view, summary),
    )


@cache
def _environment() -> Environment:
    """One a process, since it keeps the templates that it has compiled."""
    return environment()


def environment(*packages: str) -> Environment:
    """Templates of these packages and of the report, with the report's filters."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package, ".") for package in (*packages, "moaa.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": wording.percent,
        "published": wording.published,
        "bare": wording.bare,
        "points": points,
        "seconds": wording.seconds,
        "moment": wording.moment,
        "count": wording.count,
        "dollars": wording.dollars,
        "decimal": wording.decimal,
        "cut": page.cut,
        "public": public_text,
        "why": page.why,
    }
    made.globals |= {"plural": wording.plural, "interval": wording.interval}
    return made


def page_text(made: Environment, template: str, **values: object) -> str:
    """A template filled in. Control characters and lone surrogates, which HTML cannot hold, become U+FFFD."""
    text = made.get_template(template).render(**values)
    return _CONTROL.sub("\ufffd", text).encode("utf-8", "replace").decode("utf-8")


def _figures(view: RunView, summary: Summary) -> dict[str, list[Figure]]:
    head = summary.headline
    gains = [figures.gain_figure(head.gains, "Gain over the start", "start")] if head.gains else []
    mixture = head.against_mixture
    judging_figures = [figures.outcome_figure(summary.pairs)] if summary.pairs else []
    if summary.judges:
        judging_figures.append(figures.order_figure(summary.judges))
    time = figures.time_figure(summary)
    return {
        "gain_figures": gains,
        "progress_figures": figures.progress_figures(view, summary),
        "member_figures": figures.member_figures(view, summary),
        "distance_figures": [figures.gain_figure(mixture, "Distance to the mixture", "the mixture")] if mixture else [],
        "judging_figures": judging_figures,
        "length_figures": figures.length_figures(view, summary),
        "curve_figures": figures.curve_figures(view),
        "time_figures": [time] if time else [],
    }


def _sections(view: RunView, summary: Summary) -> list[tuple[str, str]]:
    """Anchors and titles of the sections this report has."""
    absent = set()
    if view.resource.spec.training.dpo is None:
        absent.add("verdicts")
        if not summary.judges and not page.warned(summary):
            absent.add("judging")
    if not any(trail.comparisons for trail in view.trails.values()):
        absent.add("said")
    if not summary.anchors:
        absent.add("anchors")
    if not summary.scores:
        absent.add("lengths")
    if not summary.data:
        absent.add("data")
    if not view.contrasts:
        absent.add("answers")
    return [(anchor, title) for anchor, title in SECTIONS if anchor not in absent]
