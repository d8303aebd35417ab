"""Named tensors to a safetensors file and back, mapped: they are read when they are used, and processes share their memory.

Every tensor begins at a multiple of 64 bytes, as torch's own do: libraries' sums may depend on that, and a vector lies in
fewer lines of the cache. The format allows no gaps, so that further tensors, which no reader is told of, fill them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

_LINE = 64
_FILLING = "~"  # how the names of the tensors that fill gaps begin
_KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``tensors`` as the new file ``path``."""
    header: dict[str, Any] = {}
    place, parts = 0, list[memoryview]()
    for name, tensor in tensors.items():
        if name.startswith(_FILLING):
            raise ValueError(f"a tensor is called {name!r}, as those that fill gaps are")
        data = tensor.detach().cpu().contiguous()
        header[name] = {
            "dtype": _KINDS[data.dtype],
            "shape": list(data.shape),
            "data_offsets": [place, place + data.nbytes],
        }
        flat = data.as_strided((data.numel(),), (1,))  # also where one value has a stride of 0
        parts.append(flat.view(torch.uint8).numpy().data)
        place += data.nbytes
        gap = -place % _LINE
        if gap:
            header[f"{_FILLING}{len(parts)}"] = {"dtype": "U8", "shape": [gap], "data_offsets": [place, place + gap]}
            parts.append(memoryview(bytes(gap)))
            place += gap
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _LINE)
    with path.open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for part in parts:
            file.write(part)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, mapped: writing to one changes this process's copy of a page, never the file."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in _names(file)}


def _names(file: Any) -> Iterator[str]:
    return (name for name in file.keys() if not name.startswith(_FILLING))  # noqa: SIM118 - it is no mapping
