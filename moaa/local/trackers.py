"""Look, before anything is paid for, whether the trackers that a resource names can be used on this machine."""

import importlib.util
from collections.abc import Mapping

from moaa.api.training import Trackers
from moaa.errors import UsageError


def check_trackers(trackers: Trackers, environ: Mapping[str, str]) -> None:
    """Raises UsageError: a library is not installed here, or nothing says where a server is."""
    for name in Trackers.model_fields:
        if getattr(trackers, name) is not None and importlib.util.find_spec(name) is None:
            raise UsageError(
                f"spec.training.trackers.{name}: {name} is not installed here; install moaa[trackers], or leave the "
                "tracker out"
            )
    if trackers.mlflow is not None and not environ.get("MLFLOW_TRACKING_URI"):
        raise UsageError(
            "spec.training.trackers.mlflow: MLFLOW_TRACKING_URI is not set; it names the server, for instance "
            "http://mlflow:5000"
        )
