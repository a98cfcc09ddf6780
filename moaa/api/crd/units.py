"""What numbers of the resource count or measure, by the name of their field."""

from collections.abc import Mapping

UNITS: Mapping[str, str] = {
    "batchSize": "rows",
    "bootstrap": "resamples",
    "checkpointMinutes": "minutes",
    "checkpointSteps": "optimiser steps",
    "cpusPerWorker": "CPU cores",
    "criteria": "criteria",
    "decontaminationNgram": "words",
    "dollars": "US dollars",
    "epochs": "passes",
    "evalSteps": "optimiser steps",
    "gpuHourUsd": "US dollars",
    "gpuHours": "GPU-hours",
    "gpuMemoryGib": "GiB",
    "gpus": "GPUs",
    "gpusPerWorker": "GPUs",
    "inputUsdPerMillion": "US dollars",
    "iterations": "iterations",
    "limit": "rows",
    "maxConcurrency": "requests",
    "maxFailures": "losses of workers",
    "maxGpus": "GPUs",
    "maxLength": "tokens",
    "maxLengthDifference": "characters",
    "maxModelLen": "tokens",
    "maxTokens": "tokens",
    "memoryGib": "GiB",
    "microBatchSize": "rows",
    "minJudges": "judges",
    "minProposals": "proposals",
    "nodes": "machines",
    "numFewshot": "examples",
    "outputUsdPerMillion": "US dollars",
    "patience": "looks",
    "replicas": "servers",
    "requestsPerMinute": "requests a minute",
    "retries": "attempts",
    "samples": "answers",
    "scheduleMinutes": "minutes",
    "stallMinutes": "minutes",
    "startupMinutes": "minutes",
    "tokens": "tokens",
    "tokensPerMinute": "tokens a minute",
    "workers": "workers",
}
PLAIN = frozenset(
    {
        "adamBeta1", "adamBeta2", "adamEpsilon", "alpha", "average", "beta", "confidence", "dropout", "evaluationFloor",
        "floor", "heldOut", "labelSmoothing", "learningRate", "maxFraction", "maxGradNorm", "maxMemberFraction",
        "minGain", "minLearningRateRatio", "minMargin", "minRejectedPoints", "rank", "seed", "sftWeight", "simpoGamma",
        "temperature", "topP", "warmupRatio", "weightDecay", "zeroStage",
    }
)  # fmt: skip
"""Numbers without one: shares, weights, rates, a seed. A test asks that every number is here or there."""


def unit_of(field: str) -> str:
    """`minutes`; empty where the number has none."""
    return UNITS.get(field, "")
