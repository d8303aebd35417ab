"""Tensors come back from a file as they were, at aligned places, and mapped: the file's pages, until they are written to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shortlist.tensor_files import read_tensors, write_tensors

TENSORS = {
    "numbers": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)),
    "one": torch.tensor(3),
    "once more": torch.zeros(4)[:1].expand(1),
    "bools": torch.tensor([True, False]),
    "nothing": torch.zeros(0, 7),
    "half": torch.ones(2, 2, dtype=torch.bfloat16),
    "bytes": torch.arange(65, dtype=torch.uint8),
    "turned": torch.arange(24.0).view(4, 6).T,
    "ünïcode": torch.tensor([-(2**63), 2**63 - 1]),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "some.safetensors", TENSORS)
    return tmp_path / "some.safetensors"


def test_tensors_come_back_as_they_were(file: Path) -> None:
    found = read_tensors(file)
    assert set(found) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def test_each_begins_at_a_line_of_the_cache(file: Path) -> None:
    assert {name: tensor.data_ptr() % 64 for name, tensor in read_tensors(file).items()} == dict.fromkeys(TENSORS, 0)


def test_other_readers_of_the_format_find_them_too(file: Path) -> None:
    found = load_file(file)
    for name, tensor in TENSORS.items():
        assert torch.equal(found[name], tensor), name


def test_writing_to_one_leaves_the_file_and_other_readers_alone(file: Path) -> None:
    before = file.read_bytes()
    one, other = read_tensors(file)["numbers"], read_tensors(file)["numbers"]
    one.zero_()
    assert not one.any()
    assert torch.equal(other, TENSORS["numbers"])
    assert file.read_bytes() == before


def test_a_file_that_is_there_is_not_overwritten(file: Path) -> None:
    with pytest.raises(FileExistsError):
        write_tensors(file, TENSORS)


def test_what_is_mapped_outlives_its_file(file: Path) -> None:
    found = read_tensors(file)
    file.unlink()
    file.write_bytes(b"something else")
    assert torch.equal(found["numbers"], TENSORS["numbers"])
