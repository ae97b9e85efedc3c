// Draws the page's figures; those with frames follow their sliders.
"use strict";

/** The tree with changes laid over it: a null takes away, a list replaces. */
function changed(tree, changes) {
  const result = { ...tree };
  for (const [key, value] of Object.entries(changes)) {
    const nested = value && typeof value === "object" && !Array.isArray(value) && !("bdata" in value);
    if (value === null) delete result[key];
    else result[key] = nested ? changed(result[key] ?? {}, value) : value;
  }
  return result;
}

for (const figure of document.querySelectorAll("figure.plot")) {
  const { data, layout, frames = [] } = JSON.parse(figure.querySelector("script").textContent);
  const canvas = figure.querySelector(".canvas");
  const sliders = [...figure.querySelectorAll("input")];
  const byName = new Map(frames.map((frame) => [frame.name, frame]));

  layout.autosize = true; // as wide as the page, but as high as elsewhere
  layout.height ??= layout.template?.layout?.height;
  delete layout.width;
  delete layout.template?.layout?.width;
  if (canvas.clientWidth < 500) {
    layout.title = { ...layout.title, font: { ...layout.title?.font, size: 13 } };
    layout.margin = { ...layout.margin, r: 12 };
  }

  const draw = () => {
    let [shown, around] = [[...data], layout];
    const frame = byName.get(sliders.map((slider) => slider.value).join(","));
    if (frame) {
      frame.traces.forEach((trace, place) => { shown[trace] = changed(shown[trace], frame.data[place]); });
      around = changed(layout, frame.layout);
    }
    for (const slider of sliders) {
      const label = JSON.parse(slider.dataset.labels)[slider.value];
      slider.nextElementSibling.value = label;
      slider.setAttribute("aria-valuetext", label);
    }
    if (around.meta?.description) canvas.setAttribute("aria-label", around.meta.description);
    // plotly writes into what it draws
    Plotly.react(canvas, structuredClone(shown), structuredClone(around), { responsive: true, displaylogo: false });
  };
  for (const slider of sliders) slider.addEventListener("input", draw);
  draw();
}
