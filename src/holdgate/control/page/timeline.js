// The timeline: a strip for each dependency, and under them on the same axis what waits and how many calls fail.
//
// Height says what colour repeats: a thin line is closed, half the height is half-open, the whole height is open. The strips begin with the
// events that the worker still has. The curves begin when the page was opened: a worker keeps no history of figures.
import { clean, draw, make, put } from "./elements.js";
import { count, short, toneOf } from "./words.js";

const WIDTH = 1000;
const HEIGHT = 20;
const PLOT = 80;
// An hour, the longest span: one sample a second.
const SAMPLES = 3600;
// Of one dependency. An outage of an hour with a try every few seconds has as many.
const CHANGES = 2000;
const TOPS = { closed: 8, half_open: 5, open: 0 };
const AFTER = { CircuitOpened: "open", CircuitHalfOpened: "half_open", CircuitClosed: "closed", CircuitReset: "closed" };
const WORDS = { closed: "closed", half_open: "half-open", open: "open" };

export class Timeline {
  constructor(root) {
    this.changes = new Map(); // name -> [{at, state}], the oldest first
    this.samples = [];
    this.began = 0;
    this.strips = new Map();
    this.body = make("div", { class: "strips" });
    this.waiting = draw("polyline", { class: "waiting" });
    this.failing = draw("polyline", { class: "failing" });
    this.plot = draw("svg", { viewBox: `0 0 ${WIDTH} ${PLOT}`, preserveAspectRatio: "none", role: "img", "aria-label": "what waits, and how many calls fail" });
    this.plot.append(this.waiting, this.failing);
    this.start = make("span");
    this.legend = make("span");
    this.legend2 = make("span");
    root.append(
      this.body,
      make("div", { class: "strip" }, make("span", { class: "name" }, "figures"), this.plot),
      make("p", { class: "axis" }, this.start, make("span", {}, "now")),
      make("p", { class: "legend" }, "▁ closed  ▄ half-open  █ open"),
      make("p", { class: "legend" }, this.legend, make("br"), this.legend2),
    );
  }

  // Take one event of the worker.
  note(event) {
    const state = AFTER[event.event];
    if (state) this.#change(event.name, event.at, state, event.previous);
  }

  // Forget all: another process answers.
  restart(began) {
    this.began = began;
    this.changes.clear();
  }

  #change(name, at, state, previous) {
    const known = this.changes.get(name) ?? [];
    if (!known.length && previous) known.push({ at: this.began || at, state: previous });
    if (known.at(-1)?.state !== state) known.push({ at, state });
    this.changes.set(name, known.slice(-CHANGES));
  }

  // Note how things stand.
  sample(doc) {
    this.began ||= doc.began;
    for (const each of doc.dependencies) {
      const known = this.changes.get(each.name);
      if (!known) this.#change(each.name, each.since ?? doc.began, each.state);
      else if (known.at(-1).state !== each.state) this.#change(each.name, each.since ?? doc.at, each.state);
    }
    const rates = doc.dependencies.map((each) => each.failure_rate).filter((rate) => rate !== null);
    this.samples.push({ at: doc.at, waiting: doc.summary.backlog ?? doc.summary.waiting, failing: rates.length ? Math.max(...rates) : null });
    if (this.samples.length > SAMPLES) this.samples.shift();
  }

  // Draw the last `span` seconds.
  show(doc, span) {
    const from = doc.at - span;
    const across = (at) => ((Math.max(at, from) - from) / span) * WIDTH;
    const gone = new Set(this.strips.keys());
    for (const each of doc.dependencies) {
      gone.delete(each.name);
      this.#strip(each, doc.at, from, across);
    }
    for (const name of gone) {
      this.strips.get(name).row.remove();
      this.strips.delete(name);
    }
    this.#curves(from, across);
    put(this.start, `${short(span)} ago`);
  }

  #strip(each, at, from, across) {
    const strip = this.strips.get(each.name) ?? this.#add(each.name);
    const known = this.changes.get(each.name) ?? [];
    const drawn = [];
    let down = 0;
    known.forEach(({ at: begin, state }, index) => {
      const end = known[index + 1]?.at ?? at;
      if (end <= from) return;
      if (state !== "closed") down += end - Math.max(begin, from);
      const left = across(begin);
      const top = TOPS[state] ?? 8;
      drawn.push(draw("rect", { x: left, y: top, width: Math.max(across(end) - left, 1.5), height: state === "closed" ? 4 : HEIGHT - 2 * top, class: state }));
    });
    strip.picture.replaceChildren(...drawn);
    strip.row.dataset.tone = toneOf(each);
    strip.picture.setAttribute("aria-label", `${clean(each.name)}: ${WORDS[each.state] ?? "unknown"} now, not closed for ${short(down)} of the last ${short(at - from)}`);
  }

  #add(name) {
    const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    const row = make("div", { class: "strip" }, make("span", { class: "name" }, make("bdi", {}, clean(name, 30))), picture);
    this.body.append(row);
    this.strips.set(name, { row, picture });
    return this.strips.get(name);
  }

  #curves(from, across) {
    const seen = this.samples.filter((each) => each.at >= from);
    const most = Math.max(1, ...seen.map((each) => each.waiting));
    const points = (some, height) => some.map((each) => `${across(each.at).toFixed(1)},${(PLOT - 2 - height(each) * (PLOT - 4)).toFixed(1)}`).join(" ");
    this.waiting.setAttribute("points", points(seen, (each) => each.waiting / most));
    this.failing.setAttribute("points", points(seen.filter((each) => each.failing !== null), (each) => each.failing));
    const now = seen.at(-1);
    put(this.legend, now ? `── waiting: ${count(now.waiting)} now, ${count(most)} at the top` : "");
    put(this.legend2, now ? `╌╌ worst failure rate: ${now.failing === null ? "too few calls" : `${Math.round(now.failing * 100)}%`} now, 100% at the top` : "");
  }
}
