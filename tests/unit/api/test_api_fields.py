"""Models are built quickly, and are the same as checked ones."""

from __future__ import annotations

import pytest
from api_fake import NOW, eid, locator
from pydantic import ValidationError

from lisp_sdn.api.fields import parse_key
from lisp_sdn.api.resources.mappings import LocatorModel, MappingEntryModel
from lisp_sdn.api.resources.network import LocatorStatusModel
from lisp_sdn.errors import FieldError
from lisp_sdn.model import Mapping
from lisp_sdn.views import LocatorStatus, MappingEntry, Origin


def test_a_built_model_equals_a_checked_one() -> None:
    entry = MappingEntry(Mapping(eid("[42] 10.0.0.0/8"), (locator("192.0.2.1"),)), Origin.STATIC)
    built = MappingEntryModel.of_entry(entry)
    assert set(dict(built)) == set(MappingEntryModel.model_fields)
    checked = MappingEntryModel.model_validate(built.model_dump())
    assert built == checked
    assert built.model_dump_json() == checked.model_dump_json()


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (LocatorModel, locator("2001:db8::1")),
        (LocatorStatusModel, LocatorStatus(locator("192.0.2.1"), since=NOW)),
    ],
)
def test_every_field_is_given(model: type, value: object) -> None:
    assert set(dict(model.of(value))) == set(model.model_fields)  # type: ignore[attr-defined]


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError):
        LocatorModel.of(locator("192.0.2.1")).priority = 5  # type: ignore[misc]


def test_a_map_cache_key_is_read_back() -> None:
    key = parse_key("srcdst:10.2.0.0/16|10.1.0.0/16", 7)
    assert str(key) == "srcdst:[7] 10.2.0.0/16|[7] 10.1.0.0/16"
    assert parse_key(str(key)) == key
    with pytest.raises(FieldError):
        parse_key("srcdst:10.2.0.0/16")
