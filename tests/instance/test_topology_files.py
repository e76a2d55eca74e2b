from __future__ import annotations

from pathlib import Path

import pytest

from fedopt.instance import InstanceError
from fedopt.instance.topology import Edge, topology

SNDLIB = """<?xml version="1.0" encoding="ISO-8859-1"?>
<network xmlns="http://sndlib.zib.de/network" version="1.0">
 <networkStructure>
  <nodes coordinatesType="geographical">
   <node id="Berlin"><coordinates><x>13.4</x><y>52.5</y></coordinates></node>
   <node id="Bonn"><coordinates><x>7.1</x><y>50.7</y></coordinates></node>
   <node id="Ulm"><coordinates><x>10.0</x><y>48.4</y></coordinates></node>
  </nodes>
  <links>
   <link id="L1"><source>Berlin</source><target>Bonn</target>
    <preInstalledModule><capacity>40.0</capacity><cost>0</cost></preInstalledModule></link>
   <link id="L2"><source>Bonn</source><target>Ulm</target></link>
  </links>
 </networkStructure>
 <demands>
  <demand id="D1"><source>Berlin</source><target>Ulm</target><demandValue>30</demandValue></demand>
  <demand id="D2"><source>Berlin</source><target>Ulm</target><demandValue>12</demandValue></demand>
 </demands>
</network>
"""

GRAPHML = """<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
 <key attr.name="Latitude" attr.type="double" for="node" id="d1"/>
 <key attr.name="Longitude" attr.type="double" for="node" id="d2"/>
 <key attr.name="label" attr.type="string" for="node" id="d3"/>
 <key attr.name="LinkSpeedRaw" attr.type="double" for="edge" id="d4"/>
 <graph edgedefault="undirected">
  <node id="0"><data key="d1">40.7</data><data key="d2">-74.0</data><data key="d3">New York</data></node>
  <node id="1"><data key="d1">41.9</data><data key="d2">-87.6</data><data key="d3">Chicago</data></node>
  <node id="2"><data key="d3">?</data></node>
  <edge source="0" target="1"><data key="d4">1e10</data></edge>
  <edge source="1" target="2"/>
 </graph>
</graphml>
"""


def test_sndlib(tmp_path: Path) -> None:
    path = tmp_path / "tiny.xml"
    path.write_text(SNDLIB)
    found = topology(str(path))
    assert found.name == "tiny"
    assert found.nodes["Ulm"].position == (10.0, 48.4)
    assert found.demands == {("Berlin", "Ulm"): 42.0}
    assert found.edges[0] == Edge("Berlin", "Bonn", None, 40.0)
    assert found.graph()["Berlin"]["Bonn"]["km"] == pytest.approx(478, rel=0.02)


def test_sndlib_on_a_plane(tmp_path: Path) -> None:
    path = tmp_path / "plane.xml"
    path.write_text(SNDLIB.replace("geographical", "pixel"))
    graph = topology(str(path)).graph()
    assert graph["Bonn"]["Ulm"]["km"] == pytest.approx(3.701, rel=1e-3)
    assert "pixels" in graph.graph["notes"][0]


def test_sndlib_with_unknown_nodes(tmp_path: Path) -> None:
    path = tmp_path / "bad.xml"
    path.write_text(SNDLIB.replace("<target>Bonn<", "<target>Bon<"))
    with pytest.raises(InstanceError, match=r"link L1: there is no node 'Bon'\s+→ did you mean 'Bonn'"):
        topology(str(path))


def test_graphml(tmp_path: Path) -> None:
    path = tmp_path / "net.graphml"
    path.write_text(GRAPHML)
    found = topology(str(path))
    assert found.nodes["0"].name == "New York"
    assert found.nodes["2"].position is None
    assert found.edges[0].capacity == 1e10
    graph = found.graph()
    assert graph["0"]["1"]["km"] == pytest.approx(1144, rel=0.01)
    assert graph.nodes["2"]["position"] == graph.nodes["1"]["position"]


def test_graphml_with_unknown_nodes(tmp_path: Path) -> None:
    path = tmp_path / "bad.graphml"
    path.write_text(GRAPHML.replace('target="2"', 'target="9"'))
    with pytest.raises(InstanceError, match="without its nodes"):
        topology(str(path))


def test_topohub() -> None:
    found = topology("topohub:sndlib/abilene")
    assert len(found.nodes) == 12
    assert len(found.edges) == 15
    assert found.demands
    assert not topology("topohub:topozoo/Abilene").demands


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("topohub:sndlib/germany5", "did you mean topohub:sndlib/germany50"),
        ("topohub:snlib/germany50", "did you mean 'sndlib'"),
        ("topohub:../../../etc/passwd", "no such topology"),
        ("topohub:", "no such topology"),
        ("sndlib/germany50", "use topohub:sndlib/germany50"),
        ("nowhere.xml", "does not exist"),
    ],
)
def test_sources_that_are_none(source: str, said: str) -> None:
    with pytest.raises(InstanceError, match=said):
        topology(source)


def test_other_xml(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<html/>")
    with pytest.raises(InstanceError, match="holds <html>"):
        topology(str(path))
    path.write_text("<network/>")
    with pytest.raises(InstanceError, match="no nodes"):
        topology(str(path))
    path.write_text("<graphml/>")
    with pytest.raises(InstanceError, match="GraphML"):
        topology(str(path))


NATIVE = """?SNDlib native format; type: network; version: 1.0
# network tiny
META (
  granularity = static
)
NODES (
  Berlin ( 13.40 52.50 )
  Bonn ( 7.10 50.70 )
  Ulm ( 10.00 48.40 )  # a remark
)
LINKS (
  L1 ( Berlin Bonn ) 40.00 0.00 0.00 0.00 ( 40.00 104.00 160.00 211.00 )
  L2 ( Bonn Ulm ) 0.00 0.00 0.00 0.00 ( )
)
DEMANDS (
  D1 ( Berlin Ulm ) 1 30.00 UNLIMITED
  D2 ( Berlin Ulm ) 1 12.00 UNLIMITED
)
"""

GML = """graph [
  Network "Tiny"
  node [ id 0 label "New York" Longitude -74.0 Latitude 40.7 ]
  node [ id 1 label "Chicago" Longitude -87.6 Latitude 41.9 ]
  node [ id 2 label "Chicago" ]
  edge [ source 0 target 1 LinkSpeedRaw 1.0E10 ]
  edge [ source 1 target 0 LinkSpeedRaw 1.0E10 ]
  edge [ source 1 target 2 ]
]
"""


def test_sndlib_native_is_what_its_xml_is(tmp_path: Path) -> None:
    native, xml = tmp_path / "tiny.txt", tmp_path / "tiny.xml"
    native.write_text(NATIVE)
    xml.write_text(SNDLIB)
    assert topology(str(native)) == topology(str(xml))
    native.write_text(NATIVE.replace("( 13.40 52.50 )", "( 260.00 180.00 )"))
    assert "pixels" in topology(str(native)).graph().graph["notes"][0]
    native.write_text(NATIVE.replace("( Bonn Ulm )", "( Bonn Ul )"))
    with pytest.raises(InstanceError, match=r"link L2: there is no node 'Ul'\s+→ did you mean 'Ulm'"):
        topology(str(native))


def test_gml_with_parallel_edges_and_a_name_twice(tmp_path: Path) -> None:
    path = tmp_path / "net.gml"
    path.write_text(GML)
    graph = topology(str(path)).graph()
    assert graph["0"]["1"]["capacity"] == 2e10
    assert graph["0"]["1"]["km"] == pytest.approx(1144, rel=0.01)
    assert graph.graph["notes"] == ["without coordinates, placed amid their neighbours: Chicago"]
    path.write_text("graph [ node [ id 0 ] edge [ source 0 target 7 ] ]")
    with pytest.raises(InstanceError, match="GML"):
        topology(str(path))


def test_parallel_edges_of_graphml_add_up(tmp_path: Path) -> None:
    path = tmp_path / "net.graphml"
    edges = '<edge source="0" target="1"><data key="d4">1e10</data></edge>'
    back = '<edge source="1" target="0"><data key="d4">1e10</data></edge>'
    for extra in (edges, back):
        path.write_text(GRAPHML.replace(edges, edges + extra))
        assert topology(str(path)).graph()["0"]["1"]["capacity"] == 2e10


def test_pixels_are_no_degrees(tmp_path: Path) -> None:
    # One node lies within degrees by chance; the others do not, so none does.
    path = tmp_path / "net.graphml"
    path.write_text(GRAPHML.replace(">40.7<", ">400<"))
    graph = topology(str(path)).graph()
    assert graph["0"]["1"]["km"] == pytest.approx(358.4, rel=1e-3)
    assert any("pixels" in note for note in graph.graph["notes"])
    planar = topology("topohub:gabriel/25/0")
    assert planar.graph().graph["notes"]
    assert {edge.km for edge in planar.edges} == {km for _, _, km in planar.graph().edges(data="km")}


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "xxxxxxxxxx">'
    + "".join(f'<!ENTITY a{i} "{"&a" + (str(i - 1) if i else "") + ";"}">' for i in range(9))
    + "]><b>&a8;</b>"
)
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY f SYSTEM "file:///etc/passwd">]><b>&f;</b>'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "declares entities"),
        (OUTSIDE, "declares entities"),
        ("<a>", "no valid XML"),
        ("", "no valid XML"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "no valid XML"),
        ("\x00\x01", "no valid XML"),
    ],
)
def test_xml_that_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(InstanceError, match=said):
        topology(str(path))


def test_the_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedopt.instance.topology.MAX_BYTES", 1_000_000)
    path = tmp_path / "a.xml"
    path.write_text("<a>" + " " * 1_000_000 + "</a>")
    with pytest.raises(InstanceError, match="larger than 1 MB"):
        topology(str(path))
