// A list of which only the rows that are seen are in the page.

/** Rows above and below the seen ones, so that a scroll does not show a hole. */
const ROWS_BEYOND = 4;

/**
 * `viewport` scrolls; its head stays at the top, and `body` has the rows. `make(row)` builds an empty row; `fill(row,
 * item, index)` writes an item into it and is called for seen rows alone.
 */
function makeRows(viewport, body, { make, fill }) {
  const space = body.appendChild(element("div", "space"));
  attribute(space, "role", "presentation");
  const head = viewport.querySelector(".head");
  const pool = [];
  let items = [], height = 32;
  let first = 0, last = 0;
  const seenPx = () => Math.max(0, viewport.clientHeight - head.offsetHeight);

  const draw = () => {
    height = parseFloat(getComputedStyle(viewport).getPropertyValue("--row-px")) || 32;
    space.style.height = `${items.length * height}px`;
    const seen = Math.ceil(seenPx() / height);
    const top = Math.min(viewport.scrollTop, Math.max(0, items.length * height - seenPx()));
    first = Math.max(0, Math.floor(top / height) - ROWS_BEYOND);
    last = Math.min(items.length, first + seen + 2 * ROWS_BEYOND + 1);
    const needed = last - first;
    while (pool.length < needed) {
      const row = element("div", "row");
      attribute(row, "role", "row");
      make(row);
      space.append(row);
      pool.push(row);
    }
    while (pool.length > Math.max(needed, 64)) pool.pop().remove();
    // A row keeps its item while it is seen: an index has its row, counted round the pool.
    for (let i = 0; i < pool.length; i++) {
      const index = first + ((i - first) % pool.length + pool.length) % pool.length;
      const row = pool[i];
      const isUsed = index < last;
      if (row.hidden === isUsed) row.hidden = !isUsed;
      if (!isUsed) continue;
      const y = `translateY(${index * height}px)`;
      if (row.style.transform !== y) row.style.transform = y;
      attribute(row, "aria-rowindex", index + 2);
      fill(row, items[index], index);
    }
  };

  let asked = false;
  const drawSoon = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
  viewport.addEventListener("scroll", drawSoon, { passive: true });
  new ResizeObserver(drawSoon).observe(viewport);

  return {
    draw,
    drawSoon,
    /** The row of the page in which an item is shown now. */
    rowOf: (test) => pool.find((row) => !row.hidden && test(row)),
    set(list) {
      items = list;
    },
    /** Scrolls so that this item is seen. */
    reveal(index) {
      const top = index * height;
      if (top < viewport.scrollTop) viewport.scrollTop = top;
      else if (top + height > viewport.scrollTop + seenPx()) {
        viewport.scrollTop = top + height - seenPx();
      }
      draw();
    },
  };
}

/** A new cell at the end of a row. */
function makeCell(row, className) {
  const cell = element("div", className);
  attribute(cell, "role", "gridcell");
  row.append(cell);
  return cell;
}
