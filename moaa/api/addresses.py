"""Every address that a resource holds: one type each, and the patterns by which rules refuse the rest.

Python's `re`, pydantic's Rust and the API server's RE2 read all patterns here alike. Patterns of types let through what
rules refuse with a better remedy (a credential, a '#'); `moaa.api.reading.rules_addresses` has these rules.
"""

from typing import Annotated

from pydantic import StringConstraints

_REST = r"[^\x00-\x1f\x7f]"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9._-]*)(:[0-9]{1,5})?"

HTTP_PATTERN = rf"^https?://([^/?#\x00-\x20\x7f]*@)?{_HOST}([/?#][^\x00-\x20\x7f]*)?$"
STORE_PATTERN = rf"^(s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9](/{_REST}*)?|file:///{_REST}+)$"
MODEL_PATTERN = rf"^(hf|s3|file|pvc)://{_REST}+$"
DATA_PATTERN = rf"^(hf|s3|file)://{_REST}+$"

EndpointUrl = Annotated[str, StringConstraints(pattern=HTTP_PATTERN, max_length=1024)]
"""Of an OpenAI-compatible API: what stands before /chat/completions. It may have a path and a query."""
ServerUrl = Annotated[str, StringConstraints(pattern=HTTP_PATTERN, max_length=512)]
"""Of a server. It may have a path and no query."""
StoreUri = Annotated[str, StringConstraints(pattern=STORE_PATTERN, max_length=512)]
"""Where a run's work lies. `?` and `#` are characters of a key or a file's name."""
ModelUri = Annotated[str, StringConstraints(pattern=MODEL_PATTERN, max_length=1024)]
DataUri = Annotated[str, StringConstraints(pattern=DATA_PATTERN, max_length=1024)]
FOLDER_PATTERN = rf"^(s3://[A-Za-z0-9][A-Za-z0-9._-]*/|file:///){_REST}+$"
FolderUri = Annotated[str, StringConstraints(pattern=FOLDER_PATTERN, max_length=1024)]
"""Of files that are brought as they are."""

USER = r"^https?://[^/?#]*@"
KEY = r"(?i)^[^?#]*\?[^#]*(key|token|secret|password|passwd|pwd|signature|sig|credential)="
"""Addresses with a credential: before the host, or in the query."""
CALLS = "(chat/completions|completions|responses|messages|embeddings|models)"
CALL = rf"^https?://[^/?#]+(/[^?#]*)?/{CALLS}/?([?][^#]*)?$"
"""A URL whose path ends in that of one call."""
HUB_MODEL = r"^hf:///*[A-Za-z0-9._-]+/+[A-Za-z0-9._-]+/*$"
HUB_DATA = r"^hf:///*datasets/+[A-Za-z0-9._-]+/+[A-Za-z0-9._-]+(/|$)"
"""What may follow is a folder or file of the repository."""
BUCKET = r"^s3://[A-Za-z0-9][A-Za-z0-9._-]*(/|$)"
"""Wider than AWS' own rules, which other servers do not have; what follows is a key, with any character."""
CLAIM = r"^pvc://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/|$)"
"""A PersistentVolumeClaim and a folder in it."""
DATA_PATH = r"(?i)(/|/[^./]+|\.(parquet|arrow|(jsonl|json|csv|tsv)(\.(gz|bz2|zst))?))$"
"""How the URI of a file that is read ends, or that of a folder: with a slash, or a last part without a dot."""
