"""What is put on the cluster: the chart's values, a namespace for runs with the store's keys, the tiny example."""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import ClientError

from tests.e2e.kube import apply, kubectl, run
from tests.e2e.settings import ROOT, Settings

TINY = ROOT / "examples" / "tiny"
TERRAFORM = ROOT / "terraform" / "tests" / "chart-values.yaml"
NAME = "tiny"
RELEASE = "moaa"
SECRET = "moaa-store"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
CHECKPOINT_STEPS, FEW_STEPS = 5, 2
"""Steps between checkpoints of the whole example, and of one with fewer rows, whose trainings have few steps."""
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}

Document = dict[str, Any]


def s3(settings: Settings) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_here,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
    )


def upload(settings: Settings) -> None:
    """The example's weights and data, below `tiny/` in the bucket."""
    client = s3(settings)
    try:
        client.head_bucket(Bucket=settings.bucket)
    except ClientError:
        client.create_bucket(Bucket=settings.bucket)
    for file in sorted([*TINY.glob("models/*/*"), *TINY.glob("data/*.jsonl")]):
        client.upload_file(str(file), settings.bucket, f"tiny/{file.relative_to(TINY)}")


def resource(settings: Settings, *, storage: str) -> Document:
    """`examples/tiny/moaa.yaml` with everything it names in the bucket; models and questions are the same."""
    document: Document = yaml.safe_load(
        (TINY / "moaa.yaml").read_text().replace("file://./", f"s3://{settings.bucket}/tiny/")
    )
    document["metadata"] = {"name": NAME, "namespace": settings.run_namespace}
    if settings.queue:
        document["metadata"]["labels"] = {QUEUE_LABEL: settings.queue}
    spec = document["spec"]
    spec["storage"] = {
        "uri": f"s3://{settings.bucket}/{storage}",
        "endpoint": settings.s3_endpoint,
        "region": settings.s3_region,
        "secret": {"name": SECRET},
    }
    spec["iterations"] = settings.iterations
    spec["serving"] = {"schedule": settings.schedule}
    # Two cores carry five servers: they are to be scheduled side by side, and use what is idle.
    spec["training"]["resources"] |= {"memoryGib": "3", "template": worker_template()}
    for method in ("sft", "dpo"):
        spec["training"][method]["checkpointSteps"] = CHECKPOINT_STEPS if settings.rows == 1 else FEW_STEPS
    if settings.rows < 1:
        spec["failures"] = {"maxFraction": "0.3"}  # of few rows, one that fails is a large part
        for source in (*spec["data"]["sft"], *spec["data"]["preference"]):
            source["limit"] = int(source["limit"] * settings.rows)
        for benchmark, rows in ((spec["evaluation"]["selection"][0], 198), (spec["evaluation"]["report"][0], 600)):
            benchmark["limit"] = int(rows * settings.rows)
    return document


def worker_template() -> Document:
    return {"spec": {"containers": [{"name": "ray-worker", "resources": {"requests": {"cpu": "200m"}}}]}}


KUBERAY = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}},
}
"""Where the one-node cluster has it."""


def values(settings: Settings) -> Document:
    """Of the chart: our images, and requests small enough for a machine of two cores."""

    def image(name: str) -> Document:
        return {"repository": f"{settings.images}{name}", "tag": settings.tag}

    return {
        "images": {
            "operator": image("operator"), "jobs": image("jobs"), "train": image("train"), "vllmCpu": image("serve-cpu")
        },
        "settings": {
            "jobCpu": "100m", "jobMemory": "1Gi", "lightCpu": "50m", "lightMemory": "512Mi",
            "serverCpu": "200m", "serverMemory": "3Gi", "headCpu": "250m", "headMemory": "3Gi",
        },
        "runNamespaces": [{"name": settings.run_namespace, "create": False}],
        "networkPolicies": {"kuberayFrom": [KUBERAY]},
    }  # fmt: skip


def terraform_values(settings: Settings) -> Document:
    """What `terraform output` says, as far as this cluster has it: our image of the operator, no chosen nodes."""
    known: Document = yaml.safe_load(TERRAFORM.read_text())
    known["images"]["operator"] = values(settings)["images"]["operator"]
    known["scheduling"]["system"]["nodeSelector"] = {}
    for namespace, name in zip(known["runNamespaces"], extra_namespaces(settings), strict=True):
        namespace |= {"name": name, "create": True}
    return known


def extra_namespaces(settings: Settings) -> list[str]:
    """Of the installation with Terraform's values."""
    return [f"{settings.run_namespace}-{number}" for number in (1, 2)]


def prepare(settings: Settings) -> None:
    """Namespaces under Pod Security `restricted`, and the store's keys."""
    for name in (settings.operator_namespace, settings.run_namespace):
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    if settings.queue:
        apply(
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "spec": {"clusterQueue": settings.queue},
                "metadata": {"name": settings.queue, "namespace": settings.run_namespace},
            }
        )  # fmt: skip
    keys = {
        "AWS_ACCESS_KEY_ID": settings.s3_access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key.get_secret_value(),
    }
    apply(
        {
            "apiVersion": "v1", "kind": "Secret", "stringData": keys,
            "metadata": {"name": SECRET, "namespace": settings.run_namespace},
        }
    )  # fmt: skip


def install(settings: Settings, values: Document) -> None:
    """The chart, or other values for the one that is there; waits until the operator is ready."""
    file = settings.folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    run(
        "helm", "upgrade", "--install", RELEASE, str(ROOT / "charts" / "moaa"), "-n", settings.operator_namespace,
        "--values", str(file), "--wait", "--timeout", "3m",
        timeout_s=240,
    )  # fmt: skip


def submit(settings: Settings, document: Document) -> Path:
    """`kubectl apply` of the resource; returns its file."""
    # JSON: PyYAML leaves the quotes off "5e-4", which Go's YAML then reads as a number.
    file = settings.folder / "moaa.json"
    file.write_text(json.dumps(document, indent=1))
    kubectl("apply", "-f", str(file))
    return file


def objects_under(settings: Settings, prefix: str) -> list[str]:
    """Keys in the bucket."""
    pages = s3(settings).get_paginator("list_objects_v2").paginate(Bucket=settings.bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def summary(settings: Settings, document: Document, *, uid: str) -> Document:
    """`moaa report` of the run with that uid, from this machine."""
    here = json.loads(json.dumps(document))
    here["spec"]["storage"]["endpoint"] = settings.s3_endpoint_here
    file, out = settings.folder / "moaa-here.json", settings.folder / "report"
    file.write_text(json.dumps(here, indent=1))
    keys = {
        "AWS_ACCESS_KEY_ID": settings.s3_access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key.get_secret_value(),
    }
    run(sys.executable, "-m", "moaa.cli", "report", str(file), "--uid", uid, "--out", str(out), env=keys)
    found: Document = json.loads((out / "summary.json").read_text())
    return found
