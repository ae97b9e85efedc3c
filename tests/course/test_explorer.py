"""Explorer: what a move redraws, when, what it tells; and what it leaves without a kernel."""

import asyncio
import base64
import json
import math
import time

import numpy as np
import plotly.graph_objects as go
import pytest

from linfkit.course import explorer as explorer_module
from linfkit.course.explorer import Explorer
from linfkit.course.static_sliders import without_sliders
from linfkit.reproduce.outputs import PLOTLY_MIME, WIDGET_MIME


def draw(p, colour):
    title = f"p={p} in {colour}"
    return go.Figure(go.Scatter(x=[0, 1], y=[p, 2 * p]), dict(title_text=title))


@pytest.fixture
def explorer():
    return Explorer(draw, p=[8, 16, math.inf], colour=["blue", "red"])


def test_a_slider_redraws_data_and_title(explorer):
    explorer.sliders["p"].value = 16
    assert explorer.figure.data[0].y == (16, 32)
    assert explorer.figure.layout.title.text == "p=16 in blue"


def test_a_visit_sees_every_value_and_returns(explorer):
    assert explorer.visit() == [
        "p=8 in blue",
        "p=16 in blue",
        "p=inf in blue",
        "p=8 in blue",
        "p=8 in red",
    ]
    assert explorer.figure.layout.title.text == "p=8 in blue"


def test_labels_are_in_the_notation(explorer):
    assert [label for label, _ in explorer.sliders["p"].options] == ["8", "16", "∞"]
    named = Explorer(lambda **_: go.Figure(), eps_train=[1], lam=[1], decay=[1], net_size=[1])
    labels = [slider.description for slider in named.sliders.values()]
    assert labels == ["ε_train", "λ", "β", "net size"]


def test_a_slider_without_values_is_refused():
    with pytest.raises(ValueError, match="p must have at least one value"):
        Explorer(lambda p: go.Figure(), p=[])


def with_extras(p):
    """A figure of which everything but the traces comes and goes with p."""
    figure = go.Figure(
        layout=dict(meta=dict(name="extras", description=f"At p={p}."), title_text=f"p={p}")
    )
    figure.add_scatter(y=np.linspace(0, p, 3), name="line")
    if p > 8:
        figure.add_vline(x=1, line_dash="dash")
        figure.add_annotation(text=f"{p}", x=1, y=1)
        figure.update_layout(yaxis_range=[0, p])
        figure.data[0].marker.color = "red"
    return figure


def test_a_redraw_shows_what_a_new_figure_would():
    explorer = Explorer(with_extras, p=[8, 16, 32])
    for p in (16, 32, 8):
        explorer.sliders["p"].value = p
        shown, wanted = explorer.figure, with_extras(p)
        assert np.array_equal(shown.data[0].y, wanted.data[0].y)
        assert shown.data[0].marker.color == wanted.data[0].marker.color
        for part in ("title", "shapes", "annotations", "yaxis", "meta"):
            assert shown.layout[part] == wanted.layout[part], (p, part)


def test_a_redraw_is_one_message(monkeypatch):
    explorer = Explorer(with_extras, p=[8, 16])
    sent = []
    for message in ("update", "restyle", "relayout"):
        monkeypatch.setattr(
            explorer.figure,
            f"_send_{message}_msg",
            lambda *_, kind=message, **__: sent.append(kind),
        )
    explorer.sliders["p"].value = 16
    assert sent == ["update"]


def test_a_position_is_drawn_once():
    drawn = []
    explorer = Explorer(lambda p: drawn.append(p) or go.Figure(), p=[1, 2, 3])
    explorer.visit()
    explorer.visit()
    explorer.still()
    assert drawn == [1, 2, 3]


def test_other_traces_than_before_are_refused():
    kinds = {1: [go.Scatter(y=[1])], 2: [go.Bar(y=[1])], 3: []}
    explorer = Explorer(lambda p: go.Figure(kinds[p]), p=[1, 2, 3])
    with pytest.raises(ValueError, match=r"same traces .* \['bar'\] and \['scatter'\]"):
        explorer.visit()


# With a kernel's loop


def test_of_moves_that_queue_up_the_last_alone_is_drawn():
    drawn = []
    explorer = Explorer(lambda p: drawn.append(p) or go.Figure(), p=[1, 2, 3, 4])

    async def drag():
        for p in (2, 3, 4):
            explorer.sliders["p"].value = p
        assert drawn == [1]
        await asyncio.sleep(5 * explorer_module._PAUSE)

    asyncio.run(drag())
    assert drawn == [1, 4]


def test_a_visit_does_not_wait(explorer):
    async def visit():
        return explorer.visit()

    assert len(asyncio.run(visit())) == 5


def test_an_error_is_told_and_forgotten_with_the_next_move():
    explorer = Explorer(lambda p: go.Figure(layout_title_text=f"{1 / p}"), p=[1, 0, 2])

    async def move(p):
        explorer.sliders["p"].value = p
        await asyncio.sleep(5 * explorer_module._PAUSE)

    asyncio.run(move(0))
    assert "ZeroDivisionError: division by zero" in explorer._status.value
    asyncio.run(move(2))
    assert not explorer._status.value
    assert explorer.figure.layout.title.text == "0.5"
    with pytest.raises(ZeroDivisionError):
        explorer.visit()


def test_what_takes_long_is_told_while_it_does(monkeypatch):
    monkeypatch.setattr(explorer_module, "_SLOW", 0.0)
    told = []

    def slow(p):
        if p > 1:
            deadline = time.monotonic() + 10
            while not explorer._status.value and time.monotonic() < deadline:
                time.sleep(0.001)
            told.append(explorer._status.value)
        return go.Figure()

    explorer = Explorer(slow, p=[1, 2])
    explorer.sliders["p"].value = 2
    assert "drawing" in told[0]
    assert not explorer._status.value


# Without sight, without a kernel


def test_the_description_follows():
    explorer = Explorer(with_extras, p=[8, 16])
    assert "At p=8." in explorer._description.value
    explorer.sliders["p"].value = 16
    assert "At p=16." in explorer._description.value
    assert explorer._repr_mimebundle_()["text/plain"] == "At p=16."


def test_the_widget_comes_with_a_figure_for_readers_without_a_kernel(explorer):
    bundle = explorer._repr_mimebundle_()
    assert bundle.keys() == {WIDGET_MIME, PLOTLY_MIME, "text/plain"}
    assert bundle[PLOTLY_MIME]["layout"]["sliders"]
    json.dumps(bundle, allow_nan=False)


def test_a_still_has_a_frame_for_every_combination(explorer):
    still = explorer.still()
    frames = {frame.name: frame for frame in still.frames}
    assert len(frames) == 6
    assert frames["1,1"].layout.title.text == "p=16 in red"
    assert frames["1,1"].data[0].y == (16, 32)
    assert [slider.active for slider in frames["1,1"].layout.sliders] == [1, 1]
    p, colour = still.layout.sliders
    assert [(step.label, *step.args[0]) for step in p.steps] == [
        ("8", "0,0"),
        ("16", "1,0"),
        ("∞", "2,0"),
    ]
    assert [step.args[0][0] for step in colour.steps] == ["0,0", "0,1"]


def test_a_stills_sliders_come_off_again(explorer):
    plain = explorer._repr_mimebundle_()[PLOTLY_MIME]
    figure, sliders = without_sliders(plain)
    assert sliders == {"p": ["8", "16", "∞"], "colour": ["blue", "red"]}
    assert figure["layout"]["height"] == 450
    assert figure["layout"]["margin"]["b"] == 80
    assert "sliders" not in json.dumps(figure)


def test_frames_undo_what_other_frames_did():
    bundle = Explorer(with_extras, p=[8, 16])._repr_mimebundle_()
    before, after = (frame for frame in bundle[PLOTLY_MIME]["frames"])
    assert before["layout"]["shapes"][0]["visible"] is False
    assert after["layout"]["shapes"][0]["visible"] is True
    assert before["layout"]["yaxis"] == {"range": None}
    assert before["data"][0]["marker"] == {"color": None}


def test_frames_hold_only_what_changes_and_briefly():
    x = np.linspace(0, 1, 1000)

    def curves(p):
        figure = go.Figure([go.Scatter(x=x, y=x**p), go.Scatter(x=x, y=x)])
        return figure.update_layout(title_text=f"{p}", xaxis_title="x")

    first, second = Explorer(curves, p=[1, 2])._repr_mimebundle_()[PLOTLY_MIME]["frames"]
    assert first["traces"] == [0]
    assert first["data"][0].keys() == {"type", "y"}
    assert second["layout"].keys() == {"title", "sliders"}
    assert len(json.dumps(second)) < 1000 * 4 * 4 / 3 + 500


def test_floats_of_a_still_have_five_digits():
    still = Explorer(lambda p: go.Figure(go.Scatter(y=[p / 3])), p=[1, 2]).still()
    assert still.frames[1].data[0].y == (0.66667,)


def test_lists_of_numbers_become_arrays_with_their_gaps():
    def level(p):
        line = go.Scatter(x=[*range(9), None], y=["a"] * 10)
        return go.Figure([line, go.Heatmap(z=[[p / 3, 2.0, 1.0]] * 2)])

    still = Explorer(level, p=[1, 2])._repr_mimebundle_()[PLOTLY_MIME]
    line = still["data"][0]
    assert np.array_equal(decoded(line["x"]), [*range(9), np.nan], equal_nan=True)
    assert line["y"] == ["a"] * 10
    z = still["frames"][1]["data"][0]["z"]
    assert z["shape"] == "2, 3"
    assert np.allclose(decoded(z), [2 / 3, 2, 1] * 2)


def decoded(array):
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])
