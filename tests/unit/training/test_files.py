import errno
import os
import resource

import pytest
import torch

from regard.training.files import atomic_write


def test_takes_the_place_of_the_former_file(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        with atomic_write(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_in_the_middle_leaves_the_former_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"former")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:  # noqa: PT012
        file.write(b"half of")
        raise ZeroDivisionError
    assert path.read_bytes() == b"former"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "write", [lambda file: file.write(bytes(50_000)), lambda file: torch.save(torch.zeros(9999), file)]
)
def test_a_disk_that_is_really_full(tmp_path, write):
    """The system refuses bytes beyond 10,000; torch's writer hides that behind an error of its own."""
    path = tmp_path / "file"
    path.write_bytes(b"former")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with (
            pytest.raises(OSError, match=r"no room on the disk for file.*former file is untouched"),
            atomic_write(path) as file,
        ):
            write(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"former"
    assert os.listdir(tmp_path) == ["file"]


def test_other_errors_of_the_system_keep_their_words(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "absent" / "file"):
        pass
    assert caught.value.errno == errno.ENOENT
