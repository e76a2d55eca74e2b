import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from fedopt.report.drawing import Drawing, clean, fitted
from tests.report.documents import HOSTILE


def test_every_text_is_escaped():
    for text in HOSTILE:
        drawing = Drawing("d", 100, 50, text, text)
        group = drawing.group("node", text, link=text)
        drawing.text(1, 2, text, into=group)
        read = ET.fromstring(drawing.markup())
        assert [element.tag for element in read.iter()] == ["svg", "title", "desc", "g", "title", "text"]
        assert read.find("title").text == clean(text)
        assert read.find("g").get("data-link") == clean(text)


@given(st.text())
def test_anything_can_be_drawn_and_written(text):
    markup = Drawing("d", 1, 1, text, "x").markup()
    ET.fromstring(markup.encode("utf-8"))


def test_it_is_an_image_with_a_name_and_a_description():
    read = ET.fromstring(Drawing("d", 100, 50, "name", "words").markup())
    ids = [read.find(tag).get("id") for tag in ("title", "desc")]
    assert (read.get("role"), read.get("aria-labelledby").split()) == ("img", ids)


@given(st.text(alphabet="abcdefghij", max_size=60), st.floats(10, 400))
def test_fitting_keeps_both_ends(text, width):
    short = fitted(text, width)
    assert len(short) <= max(4, int(width / 6.6))
    if short != text:
        head, tail = short.split("…")
        assert text.startswith(head)
        assert text.endswith(tail)
        assert abs(len(head) - len(tail)) <= 1
