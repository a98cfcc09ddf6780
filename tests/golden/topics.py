"""Every topic with what makes its values; a file beside this one holds each."""

from collections.abc import Callable, Mapping

from tests.golden import calls, contract, manifests, plan, stages, stored, training, words

TOPICS: Mapping[str, Callable[[], object]] = {
    "graphs": plan.graphs,
    "fingerprints": plan.fingerprints,
    "documents": plan.documents,
    "decisions": plan.decisions,
    "edits": plan.edits,
    "calls": calls.calls,
    "requests": calls.requests,
    "stages": stages.stages,
    "job_files": contract.job_files,
    "answers": contract.answers,
    "ends": contract.ends,
    "progress": contract.progress,
    "environments": contract.environments,
    "manifests": manifests.manifests,
    "preview": manifests.preview_lines,
    "schemas": stored.schemas,
    "prepared": stored.prepared,
    "records": stored.records,
    "training": training.training,
    "crd": stored.crd,
    "summary": stored.summary,
    "errors": words.errors,
    "plans": words.plans,
    "statuses": words.statuses,
    "metrics": words.metrics,
    "log_events": words.log_events,
}
