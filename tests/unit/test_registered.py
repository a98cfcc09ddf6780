"""What is declared has what carries it out; CONTRIBUTING.md says where each kind of extension is registered."""

import importlib
import inspect

import pytest

from moaa.plan.kinds.table import KINDS
from moaa.plan.stage import Kind
from moaa_jobs.__main__ import module_of


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_has_its_row_and_a_module_that_carries_it_out(kind: Kind) -> None:
    assert kind in KINDS, f"{kind}: moaa/plan/kinds/table.py names no row"
    assert KINDS[kind].kind is kind
    assert inspect.iscoroutinefunction(importlib.import_module(module_of(kind)).run)
