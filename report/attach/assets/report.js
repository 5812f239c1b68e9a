"use strict";
// Makes tables searchable, sortable and paged. The rows of a long one are JSON in a script element, which is not read
// before somebody asks for them; only one page of rows is ever in the document.
(() => {
  // A row of a table takes more height on a narrow screen.
  const size = matchMedia("(max-width: 40rem)").matches ? 20 : 100;

  function lively(box) {
    const table = box.querySelector("table"), body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const names = heads.map((h) => h.textContent), classes = heads.map((h) => h.className);
    const found = box.querySelector(".found"), input = box.querySelector("input");
    const pages = box.querySelector(".pages"), [first, previous, next, last] = pages.querySelectorAll("button");
    const json = box.querySelector("script[type='application/json']");
    let all = null, texts = null, view = null, page = 0, column = -1, down = false, words = [];

    function load() {
      if (all) return;
      all = json ? JSON.parse(json.textContent) : [...body.rows].map((r) => [...r.cells].map((c) => c.textContent));
      view = all.map((_, i) => i);
    }

    function draw() {
      const part = document.createDocumentFragment();
      for (const i of view.slice(page * size, (page + 1) * size)) {
        const row = document.createElement("tr");
        row.setAttribute("role", "row");
        all[i].forEach((text, k) => {
          const cell = document.createElement("td");
          cell.setAttribute("role", "cell");
          cell.className = classes[k] + (text === "-" ? " none" : "");
          cell.dataset.label = names[k];
          cell.textContent = text;
          row.append(cell);
        });
        part.append(row);
      }
      body.replaceChildren(part);
      state(view.length);
    }

    function state(n) {
      const count = Math.max(1, Math.ceil(n / size));
      pages.hidden = n <= size;
      pages.querySelector("span").textContent = n ? `${page * size + 1} to ${Math.min(n, (page + 1) * size)} of ${n}` : "";
      first.disabled = previous.disabled = page === 0;
      last.disabled = next.disabled = page >= count - 1;
      found.textContent = words.length ? `${n} of ${all.length} found` : "";
    }

    // A column whose cells all begin with a number, or have nothing to tell, is sorted by that number.
    function keys(k) {
      const numbers = new Float64Array(all.length);
      for (let i = 0; i < all.length; i++) {
        const cell = all[i][k];
        const m = /^\d+(?![\w/.])/.exec(cell);
        if (!m && cell !== "-" && cell !== "?") return null;
        numbers[i] = m ? Number(m[0]) : -1;
      }
      return numbers;
    }

    function update() {
      load();
      view = all.map((_, i) => i);
      if (words.length) {
        texts ??= all.map((r) => r.join("\n").toLowerCase());
        view = view.filter((i) => words.every((w) => texts[i].includes(w)));
      }
      if (column >= 0) {
        const numbers = keys(column), sign = down ? -1 : 1;
        view.sort(numbers
          ? (a, b) => sign * (numbers[a] - numbers[b]) || a - b
          : (a, b) => {
            const x = all[a][column], y = all[b][column];
            return x === y ? a - b : x < y ? -sign : sign;
          });
      }
      page = 0;
      draw();
    }

    function turn(to) {
      load();
      page = to;
      draw();
      box.scrollIntoView({ block: "start" });
    }

    heads.forEach((head, k) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        down = column === k && !down;
        column = k;
        for (const h of heads) h.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        update();
      });
    });
    let timer = 0;
    input?.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        update();
      }, 150);
    });
    first.addEventListener("click", () => turn(0));
    previous.addEventListener("click", () => turn(page - 1));
    next.addEventListener("click", () => turn(page + 1));
    last.addEventListener("click", () => turn(Math.ceil(view.length / size) - 1));

    if (!json) load();
    while (body.rows.length > size) body.deleteRow(-1);
    box.classList.add("scripted");
    box.querySelector(".tools").hidden = false;
    state(json ? Number(json.dataset.rows) : all.length);
  }

  for (const box of document.querySelectorAll(".rows")) lively(box);

  // What is folded away would be missing on paper.
  addEventListener("beforeprint", () => {
    for (const d of document.querySelectorAll("details")) d.open = true;
  });
})();
