// Elements of the page. Every text of a worker goes through `textContent` and nothing else: no name can become markup.

// A name may have ten thousand characters. Nobody reads more than this of it, and a row must stay a row.
const SHOWN_AT_MOST = 120;
// Characters that have no shape of their own, or change the order of those around them. Shown as their code, they cannot deceive.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

// Make an element. `attributes` are set as they are; what is true has no value, what is null or false is left out.
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children); // a string becomes a text node
  return made;
}

// Make an element of SVG.
export function draw(tag, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// Set a text, if it has changed: what is written again is laid out again, and read out again where it is a status.
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A name of somebody else's as it is shown: short, on one line, and without a character that is not seen.
export function clean(text, most = SHOWN_AT_MOST) {
  const whole = String(text);
  const seen = whole.slice(0, most).replace(UNSEEN, (each) => `\\u{${each.codePointAt(0).toString(16)}}`);
  return whole.length > most ? `${seen}… (${whole.length} characters)` : seen;
}

// A table of divisions. Rows that are not on the screen cost no layout (page.css), which rows of a <table> would.
export class Grid {
  // `columns`: [title, class] of each. `buttons(row)` makes what stands at the end of a row, once for each row.
  constructor(label, columns, buttons = null) {
    this.columns = columns;
    this.buttons = buttons;
    this.rows = new Map();
    const titles = buttons ? [...columns, "actions"] : columns;
    const head = make("div", { role: "row", class: "head" }, ...titles.map((each) => make("div", { role: "columnheader" }, each)));
    this.body = make("div", { role: "rowgroup" });
    this.root = make("div", { role: "table", "aria-label": label, class: "grid" }, make("div", { role: "rowgroup" }, head), this.body);
    this.root.dataset.columns = titles.length;
  }

  // Show these items in this order. `describe(item)` returns { key, tone, cells }; the cells are texts, one for each column. What has not
  // changed is not touched, not even read: a thousand rows are described again every second.
  show(items, describe) {
    const before = document.activeElement;
    const gone = new Set(this.rows.keys());
    let place = this.body.firstElementChild;
    for (const item of items) {
      const { key, tone, cells } = describe(item);
      gone.delete(key);
      const row = this.rows.get(key) ?? this.#add(key);
      row.item = item;
      if (row.tone !== tone) row.root.dataset.tone = row.tone = tone;
      for (let column = 0; column < cells.length; column += 1) {
        if (row.texts[column] !== cells[column]) row.cells[column].textContent = row.texts[column] = cells[column];
      }
      if (place === row.root) place = place.nextElementSibling;
      else this.body.insertBefore(row.root, place);
    }
    for (const key of gone) {
      this.rows.get(key).root.remove();
      this.rows.delete(key);
    }
    // A row that was moved has lost the focus that somebody has put there.
    if (before !== document.activeElement && before?.isConnected) before.focus({ preventScroll: true });
  }

  #add(key) {
    const row = { key, item: null, tone: null, root: make("div", { role: "row" }), cells: [], texts: [] };
    for (const title of this.columns) {
      const text = make("bdi");
      row.cells.push(text);
      row.root.append(make("div", { role: "cell", "data-title": title }, text));
    }
    if (this.buttons) row.root.append(make("div", { role: "cell", "data-title": "" }, ...this.buttons(row)));
    this.rows.set(key, row);
    return row;
  }
}
