"""How stage-data's manifest says which part of a table's rows does not fit a model that reads them."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

TOO_LONG_DROPPED = "too_long_dropped"
TOO_LONG_CUT = "too_long_cut"
"""Metrics of a training stage: rows longer than maxLength that `tooLong` left out, or trained with a shorter prompt."""


class Fit(StrEnum):
    """What is wrong with a row, as a sentence goes on after "20 % of sft-0"."""

    TOO_LONG = "too long for"
    """Whatever models write beside it: it fails when it is read."""
    LIKELY = "too long, with answers of the usual length, for"
    AT_MOST = "too long, with answers as long as maxTokens, for"
    CUT = "read with shortened proposals or evaluations by"


_KEYS: Mapping[Fit, str] = {
    Fit.TOO_LONG: "tooLong",
    Fit.LIKELY: "tooLongLikely",
    Fit.AT_MOST: "tooLongAtMost",
    Fit.CUT: "shortenedLikely",
}


def fit_metric(table: str, fit: Fit, model: str) -> str:
    """The metric that holds the part of a table's rows."""
    return f"{table}.{_KEYS[fit]}.{model}"


def misfits(metrics: Mapping[str, float]) -> Iterator[tuple[str, Fit, str, float]]:
    """Table, what is wrong, model and part of every such metric, sorted by name."""
    fits = {key: fit for fit, key in _KEYS.items()}
    for name in sorted(metrics):
        match name.split("."):
            case [table, key, model] if key in fits:
                yield table, fits[key], model, metrics[name]
