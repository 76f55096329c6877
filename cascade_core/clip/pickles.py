"""An interpreter of the pickles in PyTorch files that runs no code: it makes plain values and tensors only.

Python's own unpickler runs the code that a file names. Even with a list of harmless names, a file can make it hang or fill
the memory: by a large memo index, or by a key whose hash takes hours. This interpreter knows the operations that PyTorch
writes, accepts text and numbers as keys, and allocates no more than the pickle's length.
"""

import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import torch
from torch import Tensor

MAX_BYTES = 2 * 2**20
"""The longest pickle; callers check it. The pickle of CLIP ViT-H/14 with an optimizer's state takes a third of it."""
_LARGEST_KEY = 2**60  # an attacker can choose larger integers that all have one hash

DTYPES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}


class Name(str):
    """The name of a class or function, in place of the class or function itself."""


@dataclass
class Inert:
    """The attributes of an object whose class a TorchScript archive defines."""

    attributes: dict[str, Any] = field(default_factory=dict)


Storage = Callable[[tuple[Any, ...]], Tensor]
"""Returns the values of a storage as a flat tensor, for the storage's address in a pickle."""


def _no_storage(address: tuple[Any, ...]) -> Tensor:
    raise pickle.UnpicklingError(f"it has a tensor where none can be ({address[:1]})")


def interpreted(stream: BytesIO, storage: Storage = _no_storage) -> Any:
    """Return the value of a pickle, and leave the stream behind the pickle's end.

    Raises:
        UnpicklingError: the pickle names something that no weights need, or has an operation that PyTorch never writes.
        Exception: the pickle is broken; any error of Python and PyTorch is possible.
    """
    machine = _Machine(storage)
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name == "STOP":
            return machine.stack.pop()
        machine.do(operation, argument)
    raise pickle.UnpicklingError("its pickle has no end")


class _Machine:
    """The stack, the marks and the memo of a pickle (PEP 307, `pickletools`)."""

    def __init__(self, storage: Storage) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._storage = storage

    def do(self, operation: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do one operation."""
        stack = self.stack
        match operation.name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self._below.append(stack)
                self.stack = []
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation.name])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._top(int(operation.name[-1]))
            case "TUPLE":
                items = self._marked()
                self.stack.append(tuple(items))
            case "APPEND" | "APPENDS" | "ADDITEMS":
                items = [stack.pop()] if operation.name == "APPEND" else self._marked()
                _list(self.stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if operation.name == "SETITEM" else self._marked()
                _set_items(self.stack[-1], list(zip(items[::2], items[1::2], strict=True)))
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(_allowed(*argument.split(" ")))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_allowed(module, name))
            case "REDUCE" | "NEWOBJ":
                arguments = stack.pop()
                stack.append(_made(stack.pop(), arguments))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Inert) and isinstance(state, dict):
                    stack[-1].attributes = state
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case _ if operation.arg is not None and pickletools.anyobject not in operation.stack_after:
                stack.append(argument)
            case name:
                raise pickle.UnpicklingError(
                    f"its pickle has the operation {name}, which PyTorch never writes"
                )

    def _top(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self._below.pop()
        return items


def _allowed(module: str, name: str) -> Name:
    """Return the full name of a class or function that weights may need.

    Raises:
        UnpicklingError: weights never need it.
    """
    whole = f"{module}.{name}"
    dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
    if (
        whole in DTYPES
        or whole in _MAKERS
        or dtype
        or whole.startswith(("__torch__.", "torch.jit._pickle.build_"))
    ):
        return Name(whole)
    raise pickle.UnpicklingError(f"it names {whole}, which no weights need")


def _made(name: Any, arguments: tuple[Any, ...]) -> Any:
    """Make the value that a name and its arguments stand for; `_MAKERS` lists the names."""
    if not isinstance(name, Name):
        raise pickle.UnpicklingError(f"it calls a {type(name).__name__}")
    if name.startswith("__torch__."):
        return Inert()
    return (list if name.startswith("torch.jit._pickle.") else _MAKERS[name])(*arguments)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    _set_items(made, items.items() if isinstance(items, dict) else items)
    return made


def _set_items(target: Any, items: Any) -> None:
    for key, value in items:
        if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < _LARGEST_KEY):
            raise pickle.UnpicklingError(
                f"it has a key that is a {type(key).__name__}, neither text nor a number"
            )
        if not isinstance(target, dict):
            raise pickle.UnpicklingError(f"it puts items into a {type(target).__name__}")
        target[key] = value


def _list(target: Any) -> list[Any]:
    if not isinstance(target, list):
        raise pickle.UnpicklingError(f"it appends to a {type(target).__name__}")
    return target


def _from_type(function: Any, _kind: Any, arguments: Any, _state: Any) -> Any:
    return _made(function, arguments)


_MAKERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Tensor": lambda *_: None,
    "torch.nn.parameter.Parameter": lambda *_: None,
    "torch.Size": lambda sizes=(): sizes,
    "torch.device": lambda kind, index=None: kind,
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "_codecs.encode": lambda text, encoding: text,
    "builtins.set": lambda items=(): items,
    "__builtin__.set": lambda items=(): items,
}
"""Makes the value for each name that PyTorch writes; text stays text, and a set becomes a list."""
