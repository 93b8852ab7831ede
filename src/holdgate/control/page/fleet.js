// The fleet: a row for each worker, the worst first. The worker that serves this page asks its peers, and the page asks it (control/peers.py).
import { clean, Grid, make } from "./elements.js";
import { answers, headline, isLimited, NONE } from "./words.js";
import { headers } from "./stream.js";

// The worker asks its peers no more often either (milliseconds).
const EVERY = 2000;

export class Fleet {
  constructor(section) {
    this.section = section;
    this.grid = new Grid("Workers", ["worker", "state", "held", "why", "since", "waiting", "next"], (row) => {
      const link = make("a", { rel: "noreferrer", target: "_blank" }, "its page");
      row.link = link;
      return [link];
    });
    section.append(this.grid.root);
    this.peers = [];
  }

  // Ask again and again, for as long as there are peers.
  async follow() {
    for (;;) {
      try {
        const answer = await fetch("peers", { headers: headers(), cache: "no-store" });
        if (answer.ok) {
          this.peers = (await answer.json()).peers;
          if (!this.peers.length) return;
        }
      } catch {
        // The connection light says that the worker does not answer.
      }
      await new Promise((wake) => setTimeout(wake, EVERY));
    }
  }

  show(own) {
    this.section.hidden = !this.peers.length;
    if (!this.peers.length) return;
    const workers = [{ url: null, status: own, error: null }, ...this.peers.filter((each) => !isSame(each.status, own))];
    const rows = workers.map(describe).sort((one, other) => other.badness - one.badness || one.cells[0].localeCompare(other.cells[0]));
    this.grid.show(rows, (each) => each);
    for (const row of this.grid.rows.values()) {
      row.link.hidden = row.item.url === null;
      if (row.item.url !== null) row.link.href = row.item.url; // from the worker's configuration, which lets http and https through alone
    }
  }
}

// Whether both are of one worker. Those of a deployment may all have the same name, and hardly began in the same microsecond.
function isSame(status, own) {
  return status !== null && status.worker === own.worker && status.began === own.began;
}

function describe({ url, status, error }) {
  if (!status) return { key: url, url, tone: "bad", badness: 1e9, cells: [clean(url), `✕ ${clean(error ?? "no answer")}`, NONE, NONE, NONE, NONE, NONE] };
  const { summary } = status;
  const [what, why, since, waiting, next] = answers({ sources: [], ...status }).map(([, answer]) => answer);
  const held = summary.partitions_held + summary.queues_held;
  const badness = summary.open * 1e6 + summary.overridden * 1e5 + summary.ramping * 1e4 + status.dependencies.filter(isLimited).length * 1e3 + held;
  const tone = summary.open ? "bad" : badness ? "partly" : "fine";
  const name = url === null ? `${clean(status.worker)} (this one)` : clean(status.worker);
  return { key: url ?? "", url, tone, badness, cells: [name, headline(status), what, why, since, waiting, next] };
}
