"use strict";
(() => {
  const marked = {
    flips: (row, value) => {
      const [metric, way] = [value("metric"), value("way")];
      return row.dataset.flips.split(" ").some(mark => (!metric || mark.slice(1) === metric) && (!way || mark[0] === way));
    },
    written: (row, value) => ["what", "outcome"].every(name => !value(name) || row.dataset[name].split(" ").includes(value(name))),
  };
  const same = (row, value) => ["tag", "third", "side"].every(name => !value(name) || row.dataset[name] === value(name));
  for (const tools of document.querySelectorAll(".filter")) {
    const rows = [...document.getElementById(tools.dataset.of).tBodies[0].rows];
    const value = name => tools.querySelector(`[data-by="${name}"]`)?.value ?? "";
    const show = () => {
      const words = value("words").trim().toLowerCase();
      let n = 0;
      for (const row of rows) {
        const found = [...row.querySelectorAll("bdi")].some(item => item.textContent.toLowerCase().includes(words));
        const fits = found && same(row, value) && marked[tools.dataset.of](row, value);
        row.hidden = !fits;
        n += fits;
      }
      tools.querySelector("output").textContent = `${n} of ${rows.length} ${tools.dataset.unit}`;
    };
    tools.hidden = false;
    tools.addEventListener("input", show);
    show();
  }
})();
