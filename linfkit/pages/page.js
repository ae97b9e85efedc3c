// Behind explorer.js: draws the figures of a page, light or dark as the reader has it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => { document.documentElement.dataset.linfkitTheme = dark.matches ? "dark" : "light"; };
dark.addEventListener("change", follow);
follow();
for (const figure of document.querySelectorAll("figure.plot")) {
  const still = JSON.parse(figure.querySelector("script").textContent);
  mount(figure.appendChild(document.createElement("div")), still, Promise.resolve(Plotly));
}
