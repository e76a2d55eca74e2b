from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedopt.storage import write_atomically


def test_writes_text_and_bytes_into_new_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    assert write_atomically(path, "größe\n") == path
    assert path.read_bytes() == "größe\n".encode()
    write_atomically(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.txt"]


def test_keeps_the_old_file_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_keeps_the_mode_of_a_replaced_file_and_obeys_the_mask_for_new_ones(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("x")
    old.chmod(0o600)
    write_atomically(old, "y")
    assert old.stat().st_mode & 0o777 == 0o600
    before = os.umask(0o027)
    try:
        new = write_atomically(tmp_path / "new", "z")
    finally:
        os.umask(before)
    assert new.stat().st_mode & 0o777 == 0o640


def test_follows_a_link_and_refuses_a_directory(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("x")
    link.symlink_to(target)
    write_atomically(link, "y")
    assert link.is_symlink()
    assert target.read_text() == "y"
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path, "z")


def test_writes_straight_to_a_device() -> None:
    write_atomically("/dev/null", "gone")
    assert not Path("/dev/null").is_file()
