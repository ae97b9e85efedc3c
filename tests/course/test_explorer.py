"""Explorer: what a move redraws, when, what it tells; and what it leaves without a kernel."""

import base64
import json
import math

import numpy as np
import plotly.graph_objects as go
import pytest

from linfkit.course import explorer as explorer_module
from linfkit.course.explorer import Explorer
from linfkit.reproduce.outputs import PLOTLY_MIME, WIDGET_MIME


def draw(p, colour):
    title = f"p={p} in {colour}"
    return go.Figure(go.Scatter(x=[0, 1], y=[p, 2 * p]), dict(title_text=title))


@pytest.fixture
def explorer():
    return Explorer(draw, p=[8, 16, math.inf], colour=["blue", "red"])


def test_a_move_shows_another_figure(explorer):
    explorer.move(p=16)
    assert explorer.values == {"p": 16, "colour": "blue"}
    assert explorer.figure.data[0].y == (16, 32)
    assert explorer.figure.layout.title.text == "p=16 in blue"
    explorer.position = [2, 1]
    assert explorer.values == {"p": math.inf, "colour": "red"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"q": 1}, "sliders are p, colour; got q"),
        ({"p": 9}, r"p must be one of \[8, 16, inf\]; got 9"),
    ],
)
def test_a_move_to_nowhere_is_refused(explorer, values, message):
    with pytest.raises(ValueError, match=message):
        explorer.move(**values)
    assert explorer.position == [0, 0]


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
    assert sliders_of(explorer)["p"] == ["8", "16", "∞"]
    named = Explorer(lambda **_: go.Figure(), eps_train=[1], lam=[1], decay=[1], net_size=[1])
    assert [*sliders_of(named)] == ["ε_train", "λ", "β", "net size"]


def sliders_of(explorer):
    sliders = explorer._repr_mimebundle_()[0][PLOTLY_MIME]["layout"]["sliders"]
    return {slider["name"]: [step["label"] for step in slider["steps"]] for slider in sliders}


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


# What the browser asks for


def sent_by(explorer, monkeypatch):
    sent = []
    monkeypatch.setattr(
        explorer, "send", lambda content, buffers=(): sent.append((content, buffers))
    )
    return sent


def test_of_many_positions_those_along_the_sliders_are_drawn_and_others_when_asked_for(monkeypatch):
    monkeypatch.setattr(explorer_module, "MOST_DRAWN", 3)
    drawn = []
    explorer = Explorer(lambda a, b: drawn.append((a, b)) or go.Figure(), a=[0, 1], b=[0, 1])
    frames = explorer._repr_mimebundle_()[0][PLOTLY_MIME]["frames"]
    assert [frame["name"] for frame in frames] == ["0,0", "1,0", "0,1"]
    sent = sent_by(explorer, monkeypatch)
    explorer.position = [1, 0]
    assert not sent
    explorer.position = [1, 1]
    ((message, _),) = sent
    assert (message["at"], message["figure"]["data"]) == ("1,1", [])
    assert drawn == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_an_error_is_told_to_the_browser(monkeypatch):
    explorer = Explorer(lambda p: go.Figure(layout_title_text=f"{1 / p}"), p=[1, 0, 2])
    sent = sent_by(explorer, monkeypatch)
    explorer.move(p=0)
    assert sent == [({"at": "1", "error": "ZeroDivisionError: division by zero"}, ())]
    explorer.move(p=2)
    assert explorer.figure.layout.title.text == "0.5"
    with pytest.raises(ZeroDivisionError):
        explorer.visit()


def test_a_page_is_given_the_still_and_plotly(explorer, monkeypatch):
    sent = sent_by(explorer, monkeypatch)
    for what in ("still", "plotly", "anything else"):
        explorer._answer(explorer, {"ask": what}, [])
    (still, _), (_, (code,)) = sent
    assert still["answer"] == "still"
    assert len(still["value"]["frames"]) == 6
    assert b"plotly.js" in code[:200]


# Without sight, without a kernel


def test_the_description_follows():
    explorer = Explorer(with_extras, p=[8, 16])
    assert explorer._repr_mimebundle_()[0]["text/plain"] == "At p=8."
    explorer.move(p=16)
    assert explorer._repr_mimebundle_()[0]["text/plain"] == "At p=16."
    frames = explorer._repr_mimebundle_()[0][PLOTLY_MIME]["frames"]
    assert [f["layout"]["meta"]["description"] for f in frames] == ["At p=8.", "At p=16."]


def test_the_widget_comes_with_a_figure_for_readers_without_a_kernel(explorer):
    bundle = explorer._repr_mimebundle_()[0]
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


def test_a_still_starts_where_the_sliders_are(explorer):
    explorer.move(p=16, colour="red")
    still = explorer.still()
    assert still.layout.title.text == "p=16 in red"
    assert still.data[0].y == (16, 32)
    p, colour = still.layout.sliders
    assert (p.active, colour.active) == (1, 1)
    assert [step.args[0][0] for step in p.steps] == ["0,1", "1,1", "2,1"]
    assert {frame.name for frame in still.frames} == {f"{p},{c}" for p in range(3) for c in (0, 1)}


def test_a_still_tells_how_much_room_its_sliders_take(explorer):
    layout = explorer._repr_mimebundle_()[0][PLOTLY_MIME]["layout"]
    assert layout["height"] - layout["meta"]["room"] == 450
    assert layout["margin"]["b"] - layout["meta"]["room"] == 80


def test_frames_undo_what_other_frames_did():
    bundle = Explorer(with_extras, p=[8, 16])._repr_mimebundle_()[0]
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

    first, second = Explorer(curves, p=[1, 2])._repr_mimebundle_()[0][PLOTLY_MIME]["frames"]
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

    still = Explorer(level, p=[1, 2])._repr_mimebundle_()[0][PLOTLY_MIME]
    line = still["data"][0]
    assert np.array_equal(decoded(line["x"]), [*range(9), np.nan], equal_nan=True)
    assert line["y"] == ["a"] * 10
    z = still["frames"][1]["data"][0]["z"]
    assert z["shape"] == "2, 3"
    assert np.allclose(decoded(z), [2 / 3, 2, 1] * 2)


def decoded(array):
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])
