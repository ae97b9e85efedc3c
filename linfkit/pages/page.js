// Behind explorer.js: draws the figures of a page, light or dark as the reader or the page's button has it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => {
  const { theme } = document.body.dataset;
  const is_dark = theme === "dark" || (theme !== "light" && dark.matches);
  document.documentElement.dataset.linfkitTheme = is_dark ? "dark" : "light";
};
dark.addEventListener("change", follow);
new MutationObserver(follow).observe(document.body, { attributeFilter: ["data-theme"] });
follow();
for (const figure of document.querySelectorAll("figure.plot")) {
  const still = JSON.parse(figure.querySelector("script").textContent);
  mount(figure.appendChild(document.createElement("div")), still, Promise.resolve(Plotly));
}
