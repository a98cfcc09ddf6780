"""IFEval's rules, checked by the harness's own code. Runs in the child.

The library downloads sentence data when it is imported, unless it believes to be a second process of many; without a
network that would hang for minutes. `program` sets that up before this module is imported.
"""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import nltk
from langdetect import DetectorFactory
from lm_eval.tasks.ifeval import instructions_registry, utils

from moaa.benchmark.checker import Followed
from moaa_jobs.harness.messages import CheckRules

PUNKT = "tokenizers/punkt_tab"
NEED_PUNKT = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})
"""Rules that split text by NLTK's data; a test compares the list with the library."""

DetectorFactory.seed = 0  # langdetect draws, and the same answer must get the same score


class BrokenRule(Exception):
    """A rule's own code failed on an answer."""


def refusal(rule: str, given: Collection[str]) -> str:
    """Why a rule with arguments of these names cannot be checked here, and the remedy; empty where it can."""
    kind = instructions_registry.INSTRUCTION_DICT.get(rule)
    if kind is None:
        known = ", ".join(sorted(instructions_registry.INSTRUCTION_DICT))
        return f"rule {rule!r} is none of IFEval's ({known})"
    if rule in NEED_PUNKT and not has_punkt():
        return (
            f"rule {rule!r} needs NLTK's sentence data, which is not on this machine; install it with "
            "`python -m nltk.downloader punkt_tab` and say where in NLTK_DATA, or leave such questions out"
        )
    wanted = kind(rule).get_instruction_args_keys()
    if missing := [name for name in wanted if name not in given]:
        return f"rule {rule!r} lacks {missing[0]} in kwargs, for which the harness would draw a value; add it, not 0"
    if unknown := sorted(set(given) - set(wanted)):
        return f"rule {rule!r} has no argument {unknown[0]}; remove it from kwargs"
    return ""


@cache
def has_punkt() -> bool:
    try:
        nltk.data.find(PUNKT)
    except LookupError:
        return False
    return True


def follow(request: CheckRules) -> Followed:
    """Which of the question's rules the answer follows.

    Raises:
        BrokenRule: a rule's code failed, or its arguments do not fit it.
    """
    question = utils.InputExample(
        key=0,
        instruction_id_list=list(request.rules),
        prompt=request.prompt,
        kwargs=[_given(arguments) for arguments in request.arguments],
    )
    try:
        strict = utils.test_instruction_following_strict(question, request.answer)
        loose = utils.test_instruction_following_loose(question, request.answer)
    except Exception as error:
        raise BrokenRule(f"rules {', '.join(request.rules)}: {type(error).__name__}: {error}") from error
    return Followed(strict=strict.follow_instruction_list, loose=loose.follow_instruction_list)


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is null: a file with one column for each argument holds all of them."""
    return {name: value for name, value in arguments.items() if value is not None}
