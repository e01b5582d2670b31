// Shows each <div class="plot" data-plot="ADDRESS"> in the colours that the browser prefers.
"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
async function show(place) {
  const address = new URL(place.dataset.plot, location.href);
  address.searchParams.set("theme", dark.matches ? "dark" : "light");
  try {
    const answer = await fetch(address, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const item = await answer.json();
    place.replaceChildren();
    await Bokeh.embed.embed_item(item, place);
    place.dataset.shown = "true";
    place.dispatchEvent(new CustomEvent("plot-shown", { bubbles: true }));
  } catch (error) {
    place.textContent = `This plot could not be loaded (${error.message}). Reload the page.`;
  }
}
function showAll() { document.querySelectorAll(".plot[data-plot]").forEach(show); }
dark.addEventListener("change", showAll);
showAll();
