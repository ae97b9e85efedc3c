"""Playgrounds: their nets are the library's; they are played by buttons, mouse and keys."""

import math

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

import linfkit as lk
from linfkit.course.playground import DigitPlayground, PlanePlayground
from linfkit.course.studies.blowup import at_exponent
from linfkit.nn.layers import set_p

KERNEL_IS_IDLE = """() => {
  const { session } = window.jupyterapp.shell.currentWidget.sessionContext;
  return session?.kernel?.status === 'idle';
}"""

OURS, ORDINARY = "mnist-tiny", "mnist-tiny-ordinary"


@pytest.fixture
def page(visit, tmp_path):
    """A page from disk with both playgrounds on it."""
    file = tmp_path / "page.html"
    html = DigitPlayground()._repr_html_() + plane()._repr_html_()
    file.write_text(f"<!doctype html><meta charset=utf-8>{html}", "utf-8")
    visit.page.goto(file.as_uri())
    visit.page.locator(".linfkit-plane canvas").first.wait_for()
    return visit.page


POINTS = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))


def plane_net():
    torch.manual_seed(0)
    sizes = dict(width=8, depth=3, classes=3, mean=0.5, scale=0.3)
    return lk.LpDistNet(2, **sizes, identity_start=False).eval()


def plane():
    net = at_exponent(plane_net(), math.inf, POINTS)
    return PlanePlayground(net, POINTS, POINTS[:9].double(), torch.arange(9))


def in_page(page, expression, argument, playground=None):
    """The value of an expression of `nets` by name, `attack` and what is `given`."""
    html = (playground or DigitPlayground())._repr_html_()
    data, script = (
        html.split(start)[1].split("</script>")[0]
        for start in ('<script type="application/json">', '<script type="module">')
    )
    return page.evaluate(
        """async ([script, data, expression, given]) => {
          const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
          const { attack, DistanceNet, OrdinaryNet, tensors_of } = await import(url);
          const { certified, ordinary, net } = JSON.parse(data);
          const nets = net ? { plane: new DistanceNet(tensors_of(net)) }
            : { 'mnist-tiny': new DistanceNet(tensors_of(certified)),
              'mnist-tiny-ordinary': new OrdinaryNet(tensors_of(ordinary)) };
          const evaluate = new Function('nets', 'attack', 'given', `return ${expression}`);
          const plain = (_, value) => (ArrayBuffer.isView(value) ? [...value] : value);
          return JSON.parse(JSON.stringify(evaluate(nets, attack, given), plain));
        }""",
        [script, data, expression, argument],
    )


def some_images():
    samples, labels = lk.load_samples("mnist")
    noise = torch.rand(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return torch.cat([samples, noise]), torch.cat([labels, torch.arange(10)])


@pytest.mark.parametrize("name", [OURS, ORDINARY])
def test_logits_are_the_librarys(page, name):
    images, _ = some_images()
    rows = images.flatten(1).tolist()
    found = in_page(page, f"given.map((image) => nets['{name}'].logits(image))", rows)
    torch.testing.assert_close(
        torch.tensor(found), lk.load_pretrained(name)(images).detach(), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("p", [2, 8, 100.5])
def test_logits_are_the_librarys_at_a_real_p(page, p):
    images, _ = some_images()
    net = lk.load_pretrained(OURS)
    set_p(net, p)
    rows = images.flatten(1).tolist()
    found = in_page(page, f"given.map((image) => nets['{OURS}'].logits(image, {p}))", rows)
    torch.testing.assert_close(torch.tensor(found), net(images).detach(), atol=1e-5, rtol=1e-5)


def test_a_radius_is_never_above_the_librarys(page):
    images, labels = some_images()
    given = [images.flatten(1).tolist(), labels.tolist()]
    found = in_page(
        page, f"given[0].map((image, n) => nets['{OURS}'].radius(image, given[1][n]))", given
    )
    radius = lk.certify(lk.load_pretrained(OURS), images, labels).radius
    right = radius > 0
    assert right.sum() >= 20
    assert (torch.tensor(found)[right] <= radius[right]).all()
    torch.testing.assert_close(torch.tensor(found), radius, atol=3e-5, rtol=0)


@pytest.mark.parametrize(("name", "p"), [(OURS, math.inf), (OURS, 8), (ORDINARY, math.inf)])
def test_gradients_are_the_librarys(page, name, p):
    images, labels = lk.load_samples("mnist")
    net = lk.load_pretrained(name).double()
    if name == OURS:
        set_p(net, p)
    x = images[::4].double().requires_grad_()
    logits = net(x)
    rivals = (labels[::4] + 1) % 10
    margins = logits.gather(1, labels[::4, None]) - logits.gather(1, rivals[:, None])
    (right,) = torch.autograd.grad(margins.sum(), x)
    given = [x.detach().flatten(1).tolist(), labels[::4].tolist(), rivals.tolist()]
    power = "Infinity" if math.isinf(p) else p
    called = f"gradient(image, given[1][n], given[2][n], {power})"
    found = in_page(page, f"given[0].map((image, n) => nets['{name}'].{called})", given)
    torch.testing.assert_close(
        torch.tensor(found, dtype=torch.float64), right.flatten(1), atol=1e-5, rtol=1e-4
    )


def test_the_attack_fools_the_ordinary_net_and_never_beats_a_radius(page):
    images, labels = lk.load_samples("mnist")
    given = [images.flatten(1).tolist(), labels.tolist()]
    fooled = {}
    for name in (OURS, ORDINARY):
        called = f"attack(nets['{name}'], image, given[1][n], 0.1)"
        found = torch.tensor(in_page(page, f"given[0].map((image, n) => {called})", given))
        assert (found - images.flatten(1)).abs().max() <= 0.1 + 1e-6
        assert found.min() >= 0
        assert found.max() <= 1
        predicted = lk.load_pretrained(name)(found.view_as(images)).argmax(dim=1)
        fooled[name] = predicted != labels
    assert fooled[ORDINARY].sum() >= 18
    radius = lk.certify(lk.load_pretrained(OURS), images, labels).radius
    assert not fooled[OURS][radius > 0.1].any()


@pytest.mark.parametrize("p", [8, math.inf])
def test_means_are_taken_anew_as_in_the_library(page, p):
    power = "Infinity" if math.isinf(p) else p
    logits = f"nets.plane.centred({power}, given).logits(point, {power})"
    found = in_page(page, f"given.map((point) => {logits})", POINTS.tolist(), plane())
    right = at_exponent(plane_net(), p, POINTS)(POINTS).detach()
    torch.testing.assert_close(torch.tensor(found), right, atol=1e-5, rtol=1e-5)


def test_a_point_is_dragged_by_mouse_and_keys(page, visit):
    words = page.locator(".linfkit-plane [role=status]")
    plane = page.get_by_role("application", name="The plane")
    assert words.inner_text().startswith("p = 8. Half the margin is")
    page.get_by_role("slider", name="Exponent").focus()
    page.keyboard.press("End")
    assert words.inner_text().startswith("p = ∞. Half the margin, ")
    seen = {words.inner_text()}
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 60)
    page.mouse.up()
    seen.add(words.inner_text())
    page.keyboard.press("ArrowLeft")
    seen.add(words.inner_text())
    page.get_by_role("slider", name="Direction").focus()
    page.keyboard.press("ArrowRight")
    assert "Along 15°" in words.inner_text()
    assert len(seen) == 3
    visit.require_quiet()


def verdicts(page):
    return page.locator(".linfkit-digits .verdict").all_inner_texts()


def test_it_is_played_by_buttons_mouse_and_keys(page, visit):
    assert verdicts(page) == ["says 3: right", "says 3: right"]
    page.get_by_role("button", name="Attack the ordinary net for me").click()
    assert verdicts(page)[0].endswith("fooled")
    assert verdicts(page)[1] == "says 3: right"
    page.get_by_role("slider", name="ε").focus()
    page.keyboard.press("Home")  # a perturbation that is too large shrinks with ε
    page.get_by_text("none by more than 0.02").wait_for()
    page.get_by_role("button", name="Start again").click()
    page.get_by_text("0 of 784 pixels changed").wait_for()
    paper = page.get_by_role("application", name="A 3 to change")
    paper.focus()
    for key in ("ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    assert not page.get_by_text("0 of 784 pixels changed").count()
    page.get_by_role("button", name="Draw your own").click()
    assert verdicts(page) == ["Draw a digit.", "Draw a digit."]
    box = page.get_by_role("application", name="Paper").bounding_box()
    page.mouse.move(box["x"] + 125, box["y"] + 40)
    page.mouse.down()
    for row in range(40, 210, 5):
        page.mouse.move(box["x"] + 125, box["y"] + row)
    page.mouse.up()
    assert verdicts(page) == ["says 1", "says 1"]
    page.get_by_text("Certified radius r =").wait_for()
    visit.require_quiet()


def test_jupyterlab_shows_it_in_a_notebook_that_it_does_not_trust(lab, visit):
    cells = [
        new_code_cell("", outputs=[new_output("display_data", each._repr_mimebundle_())])
        for each in (DigitPlayground(), plane())
    ]
    notebook = new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, lab.folder / "playground.ipynb")
    visit.page.goto(lab.address("playground.ipynb"))
    visit.page.get_by_role("button", name="Attack the ordinary net for me").click()
    assert verdicts(visit.page)[0].endswith("fooled")
    visit.page.get_by_role("slider", name="Exponent").focus()
    visit.page.keyboard.press("End")
    visit.page.get_by_text("p = ∞. Half the margin").wait_for()
    visit.page.keyboard.press("ArrowLeft")
    visit.page.get_by_text("p = 128. Half the margin").wait_for()
    visit.page.wait_for_function(KERNEL_IS_IDLE)  # a server waits for kernels that are starting
    visit.require_quiet()
