"""Leaves a job's answer (`moaa.contract.answers`) in a file; without a file it does nothing."""

import logging
from pathlib import Path

from moaa.api.base import Spec
from moaa.contract.answers import failure, pack
from moaa.errors import StageError

logger = logging.getLogger(__name__)


def answer(file: Path | None, said: Spec) -> None:
    """Write an answer.

    Raises:
        StageError: it does not fit into a termination message.
    """
    text = pack(said)
    if text is None:
        raise StageError(
            "the result has more models and tables than fit into a termination message (about seventy); declare fewer "
            "models or join data sources"
        )
    _write(file, text)


def answer_failure(file: Path | None, error: str, *, permanent: bool, servers: bool = False) -> None:
    _write(file, pack(failure(error, permanent=permanent, servers=servers)) or "")


def _write(file: Path | None, text: str) -> None:
    if file is None:
        return
    try:
        file.write_text(text)
    except OSError as error:  # whatever the job was about, its exit code still says how it ended
        logger.warning("answer_not_written file=%s error=%s", file, error.strerror)
