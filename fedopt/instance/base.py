"""What all parts of an instance share: immutable documents, bounded numbers and names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, ValidationError

from .errors import InstanceError, problems_of, shown

LARGEST = 1e15
"""The largest number an instance may hold; beyond it sums of products lose their digits."""

SMALLEST = 1e-15
"""The smallest positive number where zero is not allowed."""


def _number(value: object) -> object:
    """Refuse truth values, text and integers too long for a float where a number is due."""
    if isinstance(value, (bool, str, bytes)):
        raise ValueError(f"must be a number, is {shown(value)}")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"is beyond the largest number allowed, {LARGEST:g}")
    return value


_NAME = re.compile(r"[^\s/\x00-\x1f\x7f](?:[^/\x00-\x1f\x7f]*[^\s/\x00-\x1f\x7f])?")


def _name(value: str) -> str:
    if len(value) > 200 or not _NAME.fullmatch(value) or not value.isprintable():
        raise ValueError(
            f"must be a name without '/' or line breaks, of 1 to 200 characters, is {shown(value)}"
        )
    return value


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    for before, after in itertools.pairwise(values):
        if after <= before:
            raise ValueError(f"must be in ascending order, but {after:g} follows {before:g}")
    return values


Real = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False), BeforeValidator(_number)]
Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST, allow_inf_nan=False), BeforeValidator(_number)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False), BeforeValidator(_number)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_number)]
Probability = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(_number)]
OpenProbability = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False), BeforeValidator(_number)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False), BeforeValidator(_number)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False), BeforeValidator(_number)]
Tilts = Annotated[tuple[Positive, ...], Field(min_length=1, max_length=10_000), AfterValidator(_ascending)]
Name = Annotated[StrictStr, AfterValidator(_name)]


class Document(BaseModel):
    """Part of an instance: typed, immutable, without unknown fields.

    Built in code, a value that does not fit raises `InstanceError` with all the places that are wrong.
    """

    unhashed: ClassVar[frozenset[str]] = frozenset()
    """Fields that change no plan, so that no hash depends on them."""

    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that came after the first instances were hashed: at their default the hash passes over them."""

    unwritten: ClassVar[frozenset[str]] = frozenset()
    """Fields that no file has."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, arbitrary_types_allowed=True
    )

    def __init__(self, /, **data: Any) -> None:
        try:
            self.__pydantic_validator__.validate_python(data, self_instance=self)
        except ValidationError as error:
            again = self._with_numbers(data)
            if again is data:
                raise _explained(error, data, type(self)) from None
            self.__init__(**again)  # type: ignore[misc]

    # Tells pydantic that this is a plain constructor, so that it validates nested parts itself and the
    # places of their errors stay complete.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Read this document from mappings and lists; raises `InstanceError`."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            again = cls._with_numbers(obj)
            if again is obj:
                raise _explained(error, obj, cls) from None
            return cls.model_validate(again, **options)

    @classmethod
    def _with_numbers(cls, data: Any) -> Any:
        """The data with its quantities converted, where this kind of document knows units; else itself."""
        return data


def _explained(error: ValidationError, data: object, kind: type[BaseModel]) -> Exception:
    return InstanceError(problems_of(error, data, kind), source=kind.__name__)


def accepts_objects(*methods: str) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """A validator that lets a user's own object pass when it has the `methods`, and all else go on.

    Files hold only mappings, lists and scalars, so such objects come from code alone.
    """

    def accept(value: Any, proceed: Callable[[Any], Any]) -> Any:
        plain = value is None or isinstance(value, (dict, list, tuple, str, bytes, int, float, Document))
        if not plain and not isinstance(value, type) and all(hasattr(value, name) for name in methods):
            return value
        return proceed(value)

    return accept
