// The page: what the worker says becomes tables, a timeline and a list of what has happened.
import { Agreement } from "./agreement.js";
import { clean, Grid, make, put } from "./elements.js";
import { Fleet } from "./fleet.js";
import { commandsOfDependency, commandsOfSource, commandThatEnds, Orders } from "./orders.js";
import { follow, headers, tokens } from "./stream.js";
import { Timeline } from "./timeline.js";
import * as words from "./words.js";

const byId = (id) => document.getElementById(id);
// The list of what has happened. An outage and its end on twenty partitions are sixty lines.
const LINES = 100;
// Rows of sources. More of them nobody reads; the search finds in all.
const ROWS = 1000;
// How often all sources are asked for, where the frames have only the worst (milliseconds).
const ALL_EVERY = 2000;

let doc = null; // the last status
let all = null; // all sources, while they are asked for
let seenAt = 0; // when the last frame came, by this browser's clock (milliseconds)
let light = "wait";

const orders = new Orders(byId("order"), (text) => put(byId("done"), `✓ ${text}`));
const timeline = new Timeline(byId("timeline"));
const fleet = new Fleet(byId("fleet"));
const agreement = new Agreement(byId("agreement"), orders);

const dependencies = new Grid("Dependencies", ["dependency", "state", "why", "held", "waiting", "next"], (row) => [
  action("Command …", () => orders.open(commandsOfDependency(row.item), [row.item.name])),
]);
const sources = new Grid("Partitions and queues", ["source", "state", "why", "waiting", "needs", "next"], (row) => [
  action("Command …", () => orders.open(commandsOfSource(row.item), [...new Set([row.item.source, row.item.name])], row.item.blocked?.position ?? null)),
]);
const commands = new Grid("Commands in force", ["command", "to", "by", "reason", "for another"], (row) => [
  action("End …", () => orders.open([commandThatEnds(row.item.command)], [row.item.target])),
]);
byId("dependencies").append(dependencies.root);
byId("sources").append(sources.root);
byId("commands").append(commands.root);

function action(title, act) {
  const button = make("button", { type: "button" }, title);
  button.addEventListener("click", act);
  return button;
}

// -- what comes in --------------------------------------------------------------------------------------------------------------------

function take(event, data) {
  if (event === "transition") {
    timeline.note(data);
    write(data);
  } else if (event === "status") {
    if (doc && data.began !== doc.began) timeline.restart(data.began);
    doc = data;
    seenAt = performance.now();
    timeline.sample(doc);
    redraw();
  }
}

function say(now, text) {
  light = now;
  const shown = byId("light");
  shown.dataset.light = now;
  const mark = { live: "●", off: "○" }[now] ?? "◌";
  put(shown, `${mark} ${text}`);
  document.body.dataset.light = now;
}

function write(event) {
  const text = words.told(event);
  const time = new Date(event.at * 1000);
  const line = make("li", {}, make("time", { datetime: time.toISOString() }, time.toLocaleTimeString("en-GB")), " ", make("bdi", {}, text));
  byId("log").prepend(line);
  while (byId("log").children.length > LINES) byId("log").lastChild.remove();
}

// -- what is shown --------------------------------------------------------------------------------------------------------------------

let planned = false;

// Draw once for all that came since the last picture; a hidden tab draws nothing.
function redraw() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    if (doc) show();
  });
}

function show() {
  const { at } = doc;
  put(byId("worker"), clean(doc.worker));
  const title = `${words.headline(doc)} · ${clean(doc.worker)}`;
  if (document.title !== title) document.title = title;
  showAnswers();
  byId("commands").hidden = !doc.commands.length;
  commands.show(doc.commands, (each) => ({
    key: `${each.command} ${each.target}`,
    tone: "changed",
    cells: [
      `◆ ${clean(each.command).replaceAll("_", " ")}`, clean(each.target), clean(each.actor), clean(each.reason, 500),
      each.until === null ? "until somebody ends it" : words.short(each.until - at),
    ],
  }));
  for (const row of commands.rows.values()) row.root.querySelector("button").hidden = commandThatEnds(row.item.command) === null;
  dependencies.show(doc.dependencies, (each) => ({
    key: each.name,
    tone: words.toneOf(each),
    cells: [
      clean(each.name), words.stateOf(each, at), [words.whyOf(each), words.kindsOf(each)].filter(Boolean).join(": "),
      each.held ? `${each.held} of ${each.sources}` : words.NONE,
      words.waitingOf(each), words.nextOf(each, at),
    ],
  }));
  showSources();
  agreement.show(doc);
  fleet.show(doc);
  timeline.show(doc, Number(byId("span").value));
}

function showAnswers() {
  const list = byId("questions");
  const answers = words.answers(doc);
  if (!list.children.length) list.append(...answers.map(([question]) => make("div", {}, make("dt", {}, question), make("dd", {}, make("bdi")))));
  answers.forEach(([, answer], index) => put(list.children[index].querySelector("bdi"), answer));
  list.dataset.tone = doc.summary.held_since === null && !doc.summary.open ? "fine" : "bad";
}

function showSources() {
  const from = all ?? doc;
  const wanted = byId("find").value.toLowerCase();
  const found = wanted ? from.sources.filter((each) => each.source.toLowerCase().includes(wanted)) : from.sources;
  const rows = found.slice(0, ROWS);
  sources.show(rows, (each) => ({
    key: each.source,
    tone: words.toneOfSource(each),
    cells: [
      clean(each.source), words.stateOfSource(each, from.at), words.becauseOf(each), words.waitingOf(each),
      each.needs.map((need) => clean(need)).join(", ") || words.NONE, words.nextOfSource(each, from.at),
    ],
  }));
  const total = from.sources.length + from.sources_left_out;
  put(byId("shown"), rows.length < total ? `${words.count(rows.length)} of ${words.count(total)}, the oldest hold first` : "");
}

// -- what somebody does ---------------------------------------------------------------------------------------------------------------

byId("find").addEventListener("input", redraw);
byId("span").addEventListener("change", redraw);
byId("all").addEventListener("change", async (event) => {
  if (!event.target.checked) all = null;
  redraw();
});

async function followAll() {
  for (;;) {
    // What is looked for may be a source that the frames leave out.
    if ((byId("all").checked || byId("find").value) && doc?.sources_left_out && light === "live") {
      try {
        const answer = await fetch("status", { headers: headers(), cache: "no-store" });
        if (answer.ok) all = await answer.json();
        redraw();
      } catch {
        // The connection light says that the worker does not answer.
      }
    } else if (light === "live") {
      all = null;
    }
    await new Promise((wake) => setTimeout(wake, all ? ALL_EVERY : 200));
  }
}

function askToken() {
  const dialog = byId("ask");
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(), { once: true });
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      tokens.read = byId("read-token").value.trim();
      dialog.close();
    }, { once: true });
  });
}

// What was seen last stays on the page, and says how old it is.
setInterval(() => {
  if (light === "off" && doc) put(byId("light"), `○ no answer; what follows is ${words.short((performance.now() - seenAt) / 1000)} old`);
}, 1000);

follow(take, say, askToken);
fleet.follow();
followAll();
