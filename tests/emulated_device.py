"""A device without float64, emulated on the CPU: what would fail on Apple's MPS for its dtypes fails here.

A tensor of the device ``apple`` holds a tensor of the CPU, which every operation runs on. As with MPS, nothing on the
device can be float64, and hardly an operation takes tensors of two devices. An LSTM cannot be run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Module(_DummyBackendModule):
    """What PyTorch asks of the module ``torch.apple``, which other tests of the process may see: it is off for them."""

    is_on = False

    def is_available(self) -> bool:
        return self.is_on

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16]


_setup_privateuseone_for_python_backend("apple", backend_module=_Module())
DEVICE = torch.device("apple", 0)
READS: list[str] = []
"""The operations for whose result the CPU would have waited, since the list was cleared."""

_TAKES_BOTH = ("aten::copy_", "aten::_to_copy", "aten::index.Tensor", "aten::index_put_", "aten::_index_put_impl_")


class DeviceTensor(Tensor):
    """A tensor that says it is on the device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> DeviceTensor:
        if inner.dtype in (torch.float64, torch.complex128):
            raise TypeError("Cannot convert to float64, which this device does not have.")
        tensor: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=DEVICE
        )
        tensor.inner = inner
        return tensor

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.inner})"

    def tolist(self) -> Any:
        READS.append("tolist")
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Generator(torch.Generator):
    """A generator of the CPU, also where one of the device is asked for."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")


class _Device(TorchDispatchMode):
    """Catches what makes a tensor of nothing but numbers."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    here = {id(tensor.inner): tensor for tensor in tensors if isinstance(tensor, DeviceTensor)}
    wanted = kwargs.get("device")
    to_device = bool(here) if wanted is None else torch.device(wanted).type == DEVICE.type
    if not here and not to_device:
        return func(*args, **kwargs)
    of_the_cpu = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor) and tensor.ndim]
    if here and of_the_cpu and not func.name().startswith(_TAKES_BOTH):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got two.")
    inner_args, inner_kwargs = tree_map_only(DeviceTensor, lambda tensor: tensor.inner, (args, kwargs))
    if wanted is not None:
        inner_kwargs["device"] = torch.device("cpu")
    results = func(*inner_args, **inner_kwargs)
    if not here and tensors and func.name().startswith("aten::_to_copy") and not kwargs.get("non_blocking"):
        READS.append("a blocking copy to the device")
    if here and _waits(func.name(), args, results, to_device):
        READS.append(func.name())
    if not to_device:
        return results
    # What was changed in place is returned as itself.
    return tree_map_only(Tensor, lambda inner: here[id(inner)] if id(inner) in here else DeviceTensor(inner), results)


def _waits(name: str, args: Any, results: Any, to_device: bool) -> bool:
    """Tell whether a result goes to the CPU, or has a shape that depends on values."""
    if not to_device or not any(isinstance(leaf, Tensor) for leaf in tree_leaves(results)):
        return True
    if name.startswith("aten::copy_"):
        return not isinstance(args[0], DeviceTensor)
    chosen = args[1] if name.startswith(("aten::index", "aten::_index_put")) and len(args) > 1 else ()
    masks = [index for index in tree_leaves(chosen) if isinstance(index, DeviceTensor) and index.dtype == torch.bool]
    return bool(masks) or name.startswith(("aten::nonzero", "aten::masked_select"))


@contextmanager
def emulated_device() -> Iterator[torch.device]:
    """Within it there is the device."""
    with pytest.MonkeyPatch.context() as patch, _Device():
        patch.setattr("torch.Generator", _Generator)
        patch.setattr(_Module, "is_on", True)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device=…) makes it on the CPU, then moves it
        try:
            yield DEVICE
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
