"""The MoAA resource."""

from moaa.api.base import STUDENT
from moaa.api.resource import MoAA, MoAASpec

__all__ = ["STUDENT", "MoAA", "MoAASpec"]
