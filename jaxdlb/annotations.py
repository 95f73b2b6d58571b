"""What the annotation of an array says, as in `Float[Array, "N 2"]`: that it is one, its dtype, and its shape."""

import dataclasses
import typing
from typing import Any

import jax.numpy as jnp
import numpy as np


def annotation_of(type_: Any, name: str) -> Any:
    """The annotation of a dataclass's field, evaluated if the module postpones evaluation."""
    annotation = next(field.type for field in dataclasses.fields(type_) if field.name == name)
    owner = type_ if isinstance(type_, type) else type(type_)
    return typing.get_type_hints(owner)[name] if isinstance(annotation, str) else annotation


def shape_of(annotation: Any) -> tuple[str, ...]:
    """The names of an array annotation's dimensions, as in ("N",)."""
    return tuple(_array_type(annotation).dim_str.split())


def is_array(annotation: Any) -> bool:
    """Whether an annotation is an array's, possibly as one alternative of a union."""
    return any(hasattr(option, "dim_str") for option in _options(annotation))


def dtype_of(annotation: Any) -> Any:
    """The dtype that an array annotation requires: int32, bool or float32."""
    dtypes = _array_type(annotation).dtypes
    return jnp.int32 if "int32" in dtypes else jnp.bool_ if "bool" in dtypes else jnp.float32


def shape_at(annotation: Any, sizes: Any, array: np.ndarray) -> tuple[int, ...]:
    """The shape given by the annotation and the sizes; a free dimension is as long as it is in `array`."""
    dims, names = getattr(sizes, "dims", {}), shape_of(annotation)
    ends = (*array.shape[-len(names) :], *([1] * len(names)))
    return tuple(int(name) if name.isdigit() else dims.get(name, ends[axis]) for axis, name in enumerate(names))


def free_dims(annotation: Any, sizes: Any) -> list[str]:
    """The dimensions whose length neither the annotation nor the sizes determine."""
    return [name for name in shape_of(annotation) if not name.isdigit() and name not in getattr(sizes, "dims", {})]


def _options(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if not hasattr(annotation, "dim_str") else (annotation,)


def _array_type(annotation: Any) -> Any:
    return next(option for option in _options(annotation) if hasattr(option, "dim_str"))
