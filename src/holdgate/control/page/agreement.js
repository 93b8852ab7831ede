// What the fleet agrees on: whether its log answers, who is in it, and a row for each dependency, the worst first (cli/worker/fleet_table.py).
import { clean, Grid, make, put } from "./elements.js";
import { commandsOfFleet } from "./orders.js";
import { count, nextForAll, NONE, plural, short } from "./words.js";

// A paragraph has room for so many workers, a cell for some less.
const MEMBERS = 40;
const SHARES = 10;
// A worker that was heard within a beat of good times is there (seconds).
const LATELY = 35;

const WORDS = { hold: "HELD", force_open: "FORCED OPEN" };

export class Agreement {
  constructor(section, orders) {
    this.section = section;
    this.grid = new Grid("What the fleet agrees on", ["for all", "state", "shares", "failing", "conductor", "next"], (row) => {
      const button = make("button", { type: "button" }, "For all …");
      button.addEventListener("click", () => orders.open(commandsOfFleet(row.item.fleet), [row.item.name]));
      return [button];
    });
    section.append(this.grid.root);
  }

  show(doc) {
    const { fleet, at } = doc;
    this.section.hidden = !fleet;
    if (!fleet) return;
    const state = this.section.querySelector("#log-state");
    state.dataset.tone = fleet.silent_since === null ? "fine" : "bad";
    put(state, logOf(fleet, at));
    put(this.section.querySelector("#members"), membersOf(fleet));
    const agreed = doc.dependencies.filter((each) => each.fleet).sort((one, other) => badness(other.fleet) - badness(one.fleet));
    this.grid.show(agreed, ({ name, fleet: each }) => ({
      key: name,
      tone: toneOf(each),
      cells: [clean(name), stateOf(each), sharesOf(fleet, each), failingOf(each), conductorOf(each), nextForAll(each, at)],
    }));
  }
}

function logOf(fleet, at) {
  if (fleet.silent_since === null) return `□ its log answers in ${count(fleet.round_trip * 1000)} ms`;
  return `■ its log has been silent for ${short(at - fleet.silent_since)}: this worker goes by its own rules`;
}

function membersOf(fleet) {
  const members = [...fleet.members].sort((one, other) => other.own - one.own || other.age - one.age || one.worker.localeCompare(other.worker));
  if (!members.length) return `this worker is ${clean(fleet.worker)}, and has heard of no other yet`;
  const names = members.map((each) => (each.own ? `${clean(each.worker)} (this one)` : each.age < LATELY ? clean(each.worker) : `${clean(each.worker)} (heard ${short(each.age)} ago)`));
  return `${plural(members.length, "worker")}: ${listed(names, MEMBERS)}`;
}

function listed(names, most) {
  return names.length > most ? `${names.slice(0, most).join(", ")} and ${names.length - most} more` : names.join(", ");
}

function toneOf(each) {
  if (each.word) return "bad";
  return { wait: "bad", ramp: "partly" }[each.course] ?? "fine";
}

function badness(each) {
  return { bad: 2, partly: 1, fine: 0 }[toneOf(each)];
}

function stateOf(each) {
  if (each.word) return `■ ${WORDS[each.word] ?? clean(each.word)}${each.word_actor ? ` by ${clean(each.word_actor)}` : ""}`;
  return { wait: "■ WAIT", ramp: `◪ RAMP ${each.limit}` }[each.course] ?? "□ WELL";
}

function sharesOf(fleet, each) {
  const having = each.shares.filter((share) => share.share);
  return listed(having.map((share) => `${clean(share.worker)}${share.worker === fleet.worker ? " (this one)" : ""} ${share.share}`), SHARES) || NONE;
}

function failingOf(each) {
  return each.failing ? `${plural(each.failing, "worker")}, ${count(each.failures)} in a row` : NONE;
}

function conductorOf(each) {
  return each.conductor === null ? NONE : `${each.own ? "this one" : clean(each.conductor)}, epoch ${each.epoch}`;
}
