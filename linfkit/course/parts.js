// Parts that explorers and playgrounds are built of: elements, sliders, keys, themes, and playgrounds' style.

const BASE = `
.linfkit-playground { max-width: 760px; margin: .5rem 0; color: inherit; font: 14px/1.5 Helvetica, Arial, sans-serif; }
.linfkit-playground .row { display: flex; flex-wrap: wrap; gap: .3rem .5rem; align-items: center; margin: .3rem 0; }
.linfkit-playground button { border: 1px solid currentColor; border-radius: 4px; background: none; color: inherit; font: inherit; padding: .1rem .6rem; cursor: pointer; }
.linfkit-playground button[aria-pressed=true] { outline: 3px solid #0072b2; outline-offset: -1px; }
.linfkit-playground canvas { border: 1px solid #888; image-rendering: pixelated; }
.linfkit-playground .paper { cursor: crosshair; touch-action: none; }
.linfkit-playground p { margin: .2rem 0; }
.linfkit-playground input[type=range] { flex: 1 1 8rem; max-width: 16rem; accent-color: #0072b2; }
@media print { .linfkit-playground .row { display: none; } }`;

/** Give an element the playgrounds' look, and one's own beside it. */
export function furnish(element, name, style = "") {
  element.classList.add("linfkit-playground", name);
  const id = `linfkit-playground-${name}`;
  if (!document.getElementById(id)) document.head.append(make("style", { id, textContent: BASE + style }));
}

/** An element of these properties, with these children. */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function button(text, press, name = text) {
  const made = make("button", { type: "button", textContent: text });
  made.setAttribute("aria-label", name);
  made.addEventListener("click", press);
  return made;
}

/** A row with a labelled slider: `words` says a value, `moved` gets each to which the reader moves it. */
export function slider(title, { min, max, step, start }, words, moved) {
  const input = make("input", { type: "range", min, max, step, value: start });
  const shown = make("output");
  const label = make("label", { textContent: title }, " ", shown);
  label.htmlFor = input.id = `linfkit-${Math.random().toString(36).slice(2)}`;
  const say = () => {
    shown.value = words(Number(input.value));
    input.setAttribute("aria-valuetext", shown.value);
  };
  on_move(input, (value) => {
    say();
    moved(value);
  });
  say();
  return make("div", { className: "row" }, label, input);
}

/** Call `moved` with each value to which the reader moves a slider. */
export function on_move(input, moved) {
  input.addEventListener("input", () => moved(Number(input.value)));
  input.addEventListener("keydown", (event) => { // JupyterLab takes these two keys from the browser
    const step = { ArrowRight: "stepUp", ArrowLeft: "stepDown" }[event.key];
    if (!step) return;
    event.preventDefault();
    input[step]();
    moved(Number(input.value));
  });
}

/** Let mouse, finger and pen move over a canvas; `stroke` gets the place, each way from 0 to 1, and the event. */
export function follow_pointer(canvas, stroke) {
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    stroke([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height], event);
  };
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    place(event);
  });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) place(event); });
}

/** Let arrow keys and the space bar move over a canvas; `press` gets the step, [0, 0] for space. */
export function follow_keys(canvas, press) {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] };
  canvas.addEventListener("keydown", (event) => {
    if (!steps[event.key]) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab takes arrows from the page
    press(steps[event.key]);
  });
}

/** A number in words, with a true minus. */
export function number(value) {
  return value.toFixed(3).replace("-", "−");
}

/** True on a page with a dark theme, whatever shows it. */
export function is_dark() {
  const { body, documentElement } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false"; // JupyterLab, voilà
  if (body.dataset.vscodeThemeKind) return /dark|contrast$/.test(body.dataset.vscodeThemeKind); // VS Code
  if (documentElement.getAttribute("theme")) return documentElement.getAttribute("theme") === "dark"; // Colab
  if (documentElement.dataset.linfkitTheme) return documentElement.dataset.linfkitTheme === "dark"; // pages
  return false;
}

/** Call `redraw` when the page's theme changes; gives what ends it. */
export function follow_theme(redraw) {
  let dark = is_dark();
  const look = () => {
    if (dark === is_dark()) return;
    dark = is_dark();
    redraw();
  };
  const observer = new MutationObserver(look);
  for (const node of [document.body, document.documentElement]) observer.observe(node, { attributes: true });
  return () => observer.disconnect();
}
