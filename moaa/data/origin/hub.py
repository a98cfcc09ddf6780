"""hf:// sources: `hf://datasets/owner/name[/folder]` and models `hf://owner/name`, pinned to a commit."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError, whichever HTTP library is beneath
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from pydantic import SecretStr

from moaa.data.origin.base import Listing, PinnedFile, Select, changed
from moaa.errors import NO_SPACE, DataError, StoreError, outside

TIMEOUT_S = 60.0


class HubOrigin:
    def __init__(self, uri: str, *, revision: str | None, token: SecretStr | None, endpoint: str | None = None) -> None:
        """`revision` is a branch, tag or commit; None is the default branch. `token` and `endpoint` None leave it to
        the library (HF_TOKEN or a login; HF_ENDPOINT or the Hub)."""
        rest = uri.removeprefix("hf://")
        self._uri = uri
        self._kind = "dataset" if rest.startswith("datasets/") else "model"
        parts = [part for part in rest.removeprefix("datasets/").split("/") if part]
        if len(parts) < 2:
            example = "hf://datasets/owner/name" if self._kind == "dataset" else "hf://owner/name"
            raise DataError(f"{uri}: an owner and a name are needed; write {example}")
        self._repo = "/".join(parts[:2])
        self._folder = "".join(f"{part}/" for part in parts[2:])
        self._revision = revision
        self._token = token
        self._endpoint = endpoint

    async def pin(self, select: Select) -> Listing:
        return await asyncio.to_thread(self._pin, select)

    async def fetch(self, file: PinnedFile, revision: str | None, folder: Path) -> Path:
        return await asyncio.to_thread(self._download, file, revision, folder)

    def _pin(self, select: Select) -> Listing:
        api = HfApi(endpoint=self._endpoint, token=self._secret())
        with self._errors():
            describe = api.dataset_info if self._kind == "dataset" else api.model_info
            answer = describe(self._repo, revision=self._revision, files_metadata=True, timeout=TIMEOUT_S)
            if answer.gated:  # anybody may look at it; files go to those who accepted its terms
                api.auth_check(self._repo, repo_type=self._kind)
        if answer.sha is None:
            raise StoreError(f"{self._uri}: the Hub named no commit")
        known = {s.rfilename.removeprefix(self._folder): s for s in answer.siblings or ()}
        names = [name for name, s in known.items() if s.rfilename.startswith(self._folder)]
        return Listing(answer.sha, tuple(_pinned(name, known[name]) for name in sorted(select(names))))

    def _download(self, file: PinnedFile, revision: str | None, folder: Path) -> Path:
        with self._errors(file):
            path = hf_hub_download(
                self._repo,
                self._folder + file.name,
                repo_type=self._kind,
                revision=revision,
                local_dir=folder,
                token=self._secret(),
                endpoint=self._endpoint,
            )
        size = Path(str(path)).stat().st_size
        if size != file.size_bytes:
            raise changed(self._uri, file, f"{size} bytes")
        return Path(str(path))

    def _secret(self) -> str | None:
        return self._token.get_secret_value() if self._token else None

    @contextmanager
    def _errors(self, file: PinnedFile | None = None) -> Iterator[None]:
        """Sorts the library's errors; the first that fits counts, so that special ones stand before general ones."""
        try:
            yield
        except GatedRepoError as error:
            remedy = "accept its terms on the Hub and set tokenSecret"
            raise DataError(f"{self._uri}: access is gated; {remedy}") from error
        except RepositoryNotFoundError as error:
            remedy = "correct the name, or set tokenSecret if it is private"
            raise DataError(f"{self._uri}: the Hub knows no such {self._kind}; {remedy}") from error
        except RevisionNotFoundError as error:
            raise DataError(f"{self._uri}: there is no revision {self._revision!r}; correct revision") from error
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            raise StoreError(f"{self._uri}: the Hub cannot be reached: {error}") from error
        except EntryNotFoundError as error:
            if file is None:
                raise DataError(f"{self._uri}: {error}") from error
            raise changed(self._uri, file, "nothing") from error
        except HFValidationError as error:
            raise DataError(f"{self._uri}: {error}; correct source") from error
        except (HTTPError, OSError) as error:  # the client's own failures are no OSError; the Hub's answers are both
            if isinstance(error, OSError) and error.errno in NO_SPACE:
                raise StoreError(f"{self._uri}: {outside(error)}") from error
            raise StoreError(f"{self._uri}: the Hub did not answer as expected: {error}") from error


def _pinned(name: str, sibling: RepoSibling) -> PinnedFile:
    digest = f"sha256:{sibling.lfs.sha256}" if sibling.lfs else f"git:{sibling.blob_id}"
    return PinnedFile(name, sibling.size or 0, digest)
