"use strict";
(() => {
  const tools = document.getElementById("flip-filter");
  if (!tools) return;
  const rows = [...document.querySelectorAll("#flips > tbody > tr")];
  const chosen = name => tools.querySelector(`[data-by="${name}"]`).value;
  const show = () => {
    const [words, metric, way, tag, third] = ["words", "metric", "way", "tag", "third"].map(chosen);
    let n = 0;
    for (const row of rows) {
      const marks = row.dataset.flips.split(" ");
      const flipped = marks.some(mark => (!metric || mark.slice(1) === metric) && (!way || mark[0] === way));
      const found = [...row.querySelectorAll("bdi")].some(item => item.textContent.toLowerCase().includes(words.trim().toLowerCase()));
      const fits = flipped && found && (!tag || row.dataset.tag === tag) && (!third || row.dataset.third === third);
      row.hidden = !fits;
      n += fits;
    }
    tools.querySelector("output").textContent = `${n} of ${rows.length} pairs`;
  };
  tools.hidden = false;
  tools.addEventListener("input", show);
  show();
})();
