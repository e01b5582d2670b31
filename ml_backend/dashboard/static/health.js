// Keeps the parts of the page Health up to date; only what has changed is drawn anew.
"use strict";
const health = document.getElementById("health");
const shown = new Map();
async function renew() {
  let busy = false;
  try {
    if (!document.hidden) {
      const answer = await fetch(health.dataset.now, { credentials: "same-origin" });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(`${answer.status}`);
      const now = await answer.json();
      busy = now.busy;
      for (const [part, html] of Object.entries(now.parts)) {
        if (shown.get(part) === html) continue;
        shown.set(part, html);
        health.querySelector(`[data-part="${part}"]`).innerHTML = html;
      }
      health.dataset.renewed = "true";
    }
  } catch (error) {
    delete health.dataset.renewed;
  }
  setTimeout(renew, busy ? 2000 : 15000);
}
renew();
