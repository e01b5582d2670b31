// The map: a point that is pressed opens its galaxy, several that are encircled become a selection.
"use strict";
const place = document.querySelector(".plot.map");
const panel = document.getElementById("galaxy");
const chosen = document.getElementById("chosen");
const MOST = 500;
let asked = 0;
async function open(task) {
  const mine = ++asked;
  const address = place.dataset.galaxy.replace(/0$/, encodeURIComponent(task)) + "?part=1";
  try {
    const answer = await fetch(address, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const text = await answer.text();
    if (mine !== asked) return;
    panel.innerHTML = text; // made by our server, which escapes what comes from outside
    panel.scrollIntoView({ block: "nearest", behavior: "smooth" });
  } catch (error) {
    panel.textContent = `This galaxy could not be loaded (${error.message}). Press it again.`;
  }
}
function select(source) {
  const tasks = source.selected.indices.map((row) => source.data.task[row]);
  chosen.hidden = tasks.length < 2;
  chosen.elements.tasks.value = tasks.slice(0, MOST).join(",");
  const more = tasks.length > MOST ? `, of which the first ${MOST} are taken` : "";
  chosen.querySelector("span").textContent = `${tasks.length} galaxies${more}`;
  if (tasks.length === 1) open(tasks[0]);
}
if (place) place.addEventListener("plot-shown", () => {
  for (const shown of Bokeh.documents) {
    const source = shown.get_model_by_name("galaxies");
    if (source && !source.watched) {
      source.watched = true;
      source.selected.properties.indices.change.connect(() => select(source));
    }
  }
});
