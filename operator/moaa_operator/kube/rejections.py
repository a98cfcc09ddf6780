"""Why the API server refused an object, as a problem: a reason for programs, the server's words, a remedy. Pure.

The same words come back in two ways: as the answer to the operator's own request, or, where a controller makes the pods
(of a Job, a Deployment, a Ray cluster), in that controller's condition or Event.
"""

import re
from dataclasses import dataclass

from moaa_operator.kube.objects import Problem

MAX_MESSAGE = 1500


@dataclass(frozen=True)
class _Sign:
    pattern: re.Pattern[str]
    reason: str
    remedy: str


def _sign(pattern: str, reason: str, remedy: str) -> _Sign:
    return _Sign(re.compile(pattern, re.IGNORECASE), reason, remedy)


_SIGNS = (
    _sign(
        r"exceeded quota|failed quota|insufficient quota", "QuotaExceeded",
        "Free what the ResourceQuota counts, or raise it (kubectl describe resourcequota)",
    ),
    _sign(
        r"violates PodSecurity", "PodSecurity",
        "Take what it names out of the resource's pod template, or relax the namespace's pod-security labels",
    ),
    _sign(
        r"(maximum|minimum) \S+ usage per|limit to request ratio", "LimitRange",
        "Ask for less in serving or training.resources, or change the LimitRange (kubectl describe limitrange)",
    ),
    _sign(
        r"service ?account .*not found", "ServiceAccountMissing",
        "Create the service account, or add the namespace to the chart's runNamespaces",
    ),
    _sign(r"being terminated", "NamespaceTerminating", "Nothing can run in a namespace that is being deleted"),
    _sign(
        r"no PriorityClass", "PriorityClassMissing",
        "Create the PriorityClass, or take it out of the template or the chart's values",
    ),
    _sign(
        r"failed calling webhook", "WebhookDown",
        "Start what serves this webhook (kubectl get pods -A says what does not run), or remove its configuration; "
        "it is tried again by itself, later and later",
    ),
    _sign(
        r"admission webhook|ValidatingAdmissionPolicy", "AdmissionDenied",
        "It is a rule of this cluster; change what it names, or ask the cluster's administrators",
    ),
    _sign(
        r"User \"[^\"]*\" cannot", "NotAuthorized",
        "The operator has no rights here; add the namespace to the chart's runNamespaces",
    ),
    _sign(
        r"failed to create typed patch object", "Invalid",
        "Mend the field that it names, most likely in a pod template of the resource",
    ),
    _sign(r"namespaces? \"[^\"]*\" not found", "NamespaceMissing", "Create the namespace"),
)  # fmt: skip
REASONS = frozenset(sign.reason for sign in _SIGNS) | {"Denied", "NameTaken"}

_RANDOM_POD = re.compile(r'(?:Error creating: )?pods "[^"]*" is forbidden')
"""A controller tries under another name each time; the status would change with each."""


def problem(what: str, words: str, *, reason: str = "", status: int = 0) -> Problem:
    """The problem of an object that could not be made.

    `what` names it (`Job team/x`, `a pod of Job x`). `words` are the server's, `status` is its HTTP code or 0. `reason`
    is taken when the words match no sign.
    """
    cut = _RANDOM_POD.sub("a pod is forbidden", words).strip()
    if len(cut) > MAX_MESSAGE:
        cut = f"{cut[: MAX_MESSAGE // 2]} … {cut[-(MAX_MESSAGE // 2) :]}"
    for sign in _SIGNS:
        if sign.pattern.search(words):
            return Problem(sign.reason, f"{what} cannot be made: {cut}. {sign.remedy}.")
    if status == 422 or reason == "Invalid":
        remedy = "Mend the field that it names, most likely in a pod template of the resource"
        return Problem("Invalid", f"{what} cannot be made: {cut}. {remedy}.")
    return Problem(reason or "Denied", f"{what} cannot be made: {cut}")
