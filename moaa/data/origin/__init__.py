"""Where the bytes of data sources and models lie: a folder, S3 or the Hub, behind one protocol."""

from moaa.data.origin.base import Listing, Origin, PinnedFile, Select, StartReader
from moaa.data.origin.open import S3Connect, open_origin

__all__ = ["Listing", "Origin", "PinnedFile", "S3Connect", "Select", "StartReader", "open_origin"]
