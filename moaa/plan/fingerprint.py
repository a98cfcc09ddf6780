"""What a stage depends on, as one canonical document, and its digest: the fingerprint.

A stage is done when a manifest carries its fingerprint, whichever run made it and whenever. `inputs` digests the rows
alone, so stages that ask other models about the same rows share one ledger of calls. Each kind says what its document
holds (`moaa.plan.kinds`). Never in a document: replicas, GPUs, workers, images, pod templates, credentials, tolerated
failures (`moaa.plan.canonical` lists them).
"""

from moaa.api import MoAA
from moaa.plan.canonical import digest_of
from moaa.plan.digests import Document, Results
from moaa.plan.kinds.table import KINDS
from moaa.plan.result import Identity
from moaa.plan.stage import Stage


def identify(stage: Stage, resource: MoAA, results: Results) -> Identity | None:
    """The stage with everything it depends on pinned, or None while a stage it needs has no result.

    Raises:
        StageError: a result lacks an output that this stage reads.
    """
    if any(need not in results for need in stage.needs):
        return None
    kind = KINDS[stage.kind]
    inputs, body = kind.document(stage, resource, results)
    document: Document = {"kind": str(stage.kind), "revision": kind.revision, "inputs": inputs, **body}
    return Identity(stage, digest_of(inputs), digest_of(document), document)
