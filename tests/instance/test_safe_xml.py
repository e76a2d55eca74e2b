from __future__ import annotations

from pathlib import Path

import pytest

from fedopt.instance import InstanceError
from fedopt.instance.safe_xml import read_xml

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "xxxxxxxxxx">'
    + "".join(f'<!ENTITY a{i} "{"&a" + (str(i - 1) if i else "") + ";"}">' for i in range(9))
    + "]><b>&a8;</b>"
)
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY f SYSTEM "file:///etc/passwd">]><b>&f;</b>'


def test_names_lose_their_namespaces(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<?xml version="1.0"?><a xmlns="http://x"><b id="1">t</b><!-- c --></a>')
    root = read_xml(path)
    assert root.tag == "a"
    assert root.findtext("b") == "t"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "declares entities"),
        (OUTSIDE, "declares entities"),
        ("<a>" * 101 + "</a>" * 101, "levels deep"),
        ("<a>", "no valid XML"),
        ("", "no valid XML"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "no valid XML"),
        ("\x00\x01", "no valid XML"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(InstanceError, match=said):
        read_xml(path)


def test_sizes_and_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedopt.instance.safe_xml.MAX_BYTES", 1_000_000)
    path = tmp_path / "a.xml"
    path.write_text("<a>" + " " * 1_000_000 + "</a>")
    with pytest.raises(InstanceError, match="larger than 1 MB"):
        read_xml(path)
    with pytest.raises(InstanceError, match="cannot be read"):
        read_xml(tmp_path / "b.xml")
