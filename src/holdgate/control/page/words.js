// The words of the page: durations, numbers, states and reasons, as the command line has them (cli/worker/table.py, flow/explain.py).
import { clean } from "./elements.js";

export const NONE = "–";
const UNITS = [["d", 86400, "h", 3600], ["h", 3600, "m", 60], ["m", 60, "s", 1]];
const RAN_OUT = 0.5; // seconds; a moment that is over is now

export function short(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  for (const [unit, length, below, part] of UNITS) {
    if (whole >= length) return `${Math.floor(whole / length)}${unit}${String(Math.floor((whole % length) / part)).padStart(2, "0")}${below}`;
  }
  return `${whole}s`;
}

export function soon(seconds) {
  return seconds < RAN_OUT ? "now" : `in ${short(seconds)}`;
}

// Thousands apart, by a thin space: a comma is a decimal sign to half of the world.
export function count(number) {
  return String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, "\u2009");
}

export function plural(number, one) {
  return `${count(number)} ${one}${number === 1 ? "" : "s"}`;
}

function percent(ratio) {
  return `${Math.round(ratio * 100)}%`;
}

export function ordinal(number) {
  const teens = [11, 12, 13].includes(number % 100);
  return `${number}${teens ? "th" : { 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th"}`;
}

// -- dependencies ---------------------------------------------------------------------------------------------------------------------

const OVERRIDES = { forced_open: "FORCED OPEN", disabled: "DISABLED", metrics_only: "OBSERVED" };
const MARKS = { bad: "■", partly: "◪", changed: "◆", fine: "□" };

export function toneOf(each) {
  if (each.override) return each.override === "forced_open" ? "bad" : "changed";
  return { open: "bad", half_open: "partly" }[each.state] ?? (isLimited(each) ? "partly" : "fine");
}

// Whether messages wait for it because it takes no more calls, though its circuit is closed (flow/status.py).
export function isLimited(each) {
  const { limits } = each;
  if (!limits || limits.observed || each.state !== "closed" || each.override) return false;
  return limits.why !== "free" && Boolean(each.waiting || each.held);
}

export function stateOf(each, at) {
  const since = each.down_since === null ? "" : ` ${short(at - each.down_since)}`;
  const state = { open: `OPEN${since}`, half_open: `RAMP ${each.limit} of ${each.full}${since}` }[each.state] ?? (isLimited(each) ? "LIMITED" : "CLOSED");
  return `${MARKS[toneOf(each)]} ${each.override ? OVERRIDES[each.override] ?? clean(each.override) : state}`;
}

// Why a circuit opened (core/states.py), with the figures where there are some.
const OPENED = {
  failure_rate: (value, threshold) => (value === null ? "too many calls failed" : `${percent(value)} of the calls failed, ${percent(threshold)} is the threshold`),
  slow_call_rate: (value, threshold) => (value === null ? "too many calls were slow" : `${percent(value)} of the calls were slow, ${percent(threshold)} is the threshold`),
  consecutive_failures: (value) => (value === null ? "several calls in a row failed" : `${count(value)} calls in a row failed`),
  probe: () => "the last probe failed",
  slow_probe: () => "the last probe was slow",
  permit_lease: () => "a call did not end in time",
  retry_after: () => "the server asked for a wait",
  open_for: () => "a program asked for a wait",
  fleet: () => "the whole fleet waits for it",
};

export function whyOf(each) {
  if (each.override) return "an operator did it";
  if (isLimited(each)) return [["throttled", "down"].includes(each.limits.why) && "takes no more calls for now", ...limitOf(each)].filter(Boolean).join(", ");
  if (each.state === "closed") return pressureOf(each);
  if (each.fleet?.word) return `${clean(each.fleet.word_actor ?? "an operator")} keeps the whole fleet from it: ${clean(each.fleet.word_reason ?? NONE)}`;
  return OPENED[each.reason]?.(each.value, each.threshold) ?? clean(each.reason ?? NONE);
}

// What the calls of a circuit that is not closed have failed with lately, latest first.
export function kindsOf(each) {
  if (each.state === "closed") return "";
  return each.failed_with.map((kind) => `${clean(kind.error)} × ${count(kind.count)}`).join(", ");
}

// Why nothing starts although its circuit is closed, and what is far enough ahead to be said (seconds): an inbox bridges less.
const REFUSES = ["throttled", "down"];
const NOT_SOON = 5;

// How many calls it takes, as far as that is known.
function limitOf(each) {
  const limits = each.limits;
  if (!limits) return [];
  if (letsNone(each)) return ["lets nothing through", `${percent(limits.waste)} refused`];
  const pace = limits.pace === null ? [] : [`${limits.observed ? "would let" : "lets"} ${rate(limits.pace)} through`];
  if (limits.width !== null && !pace.length) pace.push(`${limits.observed ? "would let" : "lets"} ${count(limits.width)} in parallel through`);
  return limits.refused ? [...pace, `${percent(limits.waste)} refused`] : pace;
}

// Some of its keys are held, while the others go on.
function keysOf(each) {
  return each.keys?.held ? [`${count(each.keys.held)} ${each.keys.held === 1 ? "key" : "keys"} held`] : [];
}

// Whether it refuses all calls for so long that what needs it is held. Its numbers are then those of before.
function letsNone(each) {
  return !each.limits.observed && REFUSES.includes(each.limits.why) && each.held > 0;
}

function rate(pace) {
  const [number, unit] = pace >= 1 ? [pace, "/s"] : pace * 60 >= 1 ? [pace * 60, " a minute"] : [pace * 3600, " an hour"];
  return `${Number(number.toPrecision(3))}${unit}`;
}

// What the window says; nothing below the minimum of calls.
export function pressureOf(each) {
  const parts = [...limitOf(each), ...keysOf(each)];
  if (each.failure_rate !== null) parts.push(`${percent(each.failure_rate)} fail`);
  else if (each.consecutive_failures) parts.push(`${count(each.consecutive_failures)} failed in a row`);
  if (each.slow_call_rate) parts.push(`${percent(each.slow_call_rate)} slow`);
  return parts.join(", ") || NONE;
}

export function nextOf(each, at) {
  if (each.override) return each.override_until === null ? "until somebody ends it" : `ends ${soon(each.override_until - at)}`;
  if (each.next_try !== null) {
    const tries = each.failed_tries ? ` (${ordinal(each.failed_tries + 1)})` : "";
    return `probe ${soon(each.next_try - at)}${tries}`;
  }
  if (each.state === "open" && isLed(each)) return nextForAll(each.fleet, at);
  const next = each.limits?.next_start ?? null;
  if (REFUSES.includes(each.limits?.why) && next !== null) return `asks ${soon(next - at)}`;
  if (next !== null && next - at >= NOT_SOON) return `the next call ${soon(next - at)}`;
  if (each.drain_seconds !== null && each.backlog) return `drained in about ${short(each.drain_seconds)}`;
  if (isLimited(each)) return each.limits.pace === null ? "the next call when one has ended" : `goes on, ${rate(each.limits.pace)}`;
  return each.state === "half_open" ? "more after a good stage" : NONE;
}

// Whether it waits because its fleet does, and not by its own rules.
function isLed(each) {
  return Boolean(each.fleet) && (Boolean(each.fleet.word) || each.fleet.phase === "wait");
}

// What is next for all workers of a fleet.
export function nextForAll(agreed, at) {
  if (agreed.word) return agreed.word_until === null ? "until somebody ends it" : `ends ${soon(agreed.word_until - at)}`;
  if (agreed.course === "ramp") return `more after stage ${agreed.stage}`;
  if (agreed.next_probe === null) return NONE;
  return `probe ${soon(agreed.next_probe - at)}${agreed.failed_probes ? ` (${ordinal(agreed.failed_probes + 1)})` : ""}`;
}

export function waitingOf(each) {
  // The broker was asked some seconds ago, and what it counts has those in this process in it.
  if (each.backlog !== null) return count(Math.max(each.backlog, each.waiting));
  return each.waiting ? `${count(each.waiting)} here` : NONE;
}

// -- sources --------------------------------------------------------------------------------------------------------------------------

const REASONS = { operator: "an operator", blocked: "a message that fails again and again", suspected: "an outage that no need describes" };

function limitWords(reason) {
  return reason.startsWith("limit:") ? `${clean(reason.slice("limit:".length))} takes no more calls for now` : clean(reason);
}

export function becauseOf(each) {
  const parts = each.reasons.map((reason) => (reason.startsWith("circuit:") ? clean(reason.slice("circuit:".length)) : REASONS[reason] ?? limitWords(reason)));
  if (each.suspected) parts.push(clean(each.suspected));
  if (each.falling_back) parts.push("falls back");
  if (each.blocked) parts.push(`waits behind message ${each.blocked.position}: ${clean(each.blocked.error)}, failed ${plural(each.blocked.attempts, "time")}`);
  else if (each.retrying) parts.push(`message ${each.retrying.position} waits for its next try${each.retrying.error ? ` (${clean(each.retrying.error)})` : ""}`);
  if (each.blocked_for) parts.push(`an open transaction for ${short(each.blocked_for)}`);
  return parts.join(", ") || NONE;
}

export function toneOfSource(each) {
  if (each.held) return "bad";
  return each.falling_back || each.blocked ? "partly" : "fine";
}

export function stateOfSource(each, at) {
  if (!each.held) return each.falling_back ? "◪ falls back" : "□ flows";
  return each.since === null ? "■ held" : `■ held ${short(at - each.since)}`;
}

export function nextOfSource(each, at) {
  if (each.next_try !== null) return soon(each.next_try - at);
  if (each.held) return each.reasons.includes("operator") ? "until somebody ends it" : NONE;
  if (each.retrying) return soon(each.retrying.next_try - at);
  return each.drain_seconds !== null && each.backlog ? `drained in about ${short(each.drain_seconds)}` : NONE;
}

// -- the first line -------------------------------------------------------------------------------------------------------------------

// The five questions and their answers.
export function answers(doc) {
  const { summary, at } = doc;
  const held = [summary.partitions_held && plural(summary.partitions_held, "partition"), summary.queues_held && plural(summary.queues_held, "queue")];
  return [
    ["What is held?", held.filter(Boolean).join(" + ") || "nothing"],
    ["Why?", reasonsOf(doc)],
    ["Since when?", summary.held_since === null ? NONE : `for ${short(at - summary.held_since)}`],
    ["How much waits?", waitingOfAll(summary)],
    ["What is next?", nextOfAll(doc)],
  ];
}

function waitingOfAll({ backlog, waiting }) {
  if (backlog === null) return `${count(waiting)} here`;
  return count(Math.max(backlog, waiting)) + (waiting ? `, ${count(waiting)} of them here` : "");
}

function reasonsOf(doc) {
  const found = doc.dependencies.filter((each) => toneOf(each) !== "fine").map((each) => `${clean(each.name)} ${stateOf(each, doc.at).replace(/^\S+ /, "").replace(/ \d+\w+$/, "")}: ${whyOf(each)}`);
  const named = new Set(doc.dependencies.filter(isLimited).map((each) => `limit:${each.name}`));
  const others = new Set(doc.sources.flatMap((each) => each.reasons.filter((reason) => !reason.startsWith("circuit:") && !named.has(reason))));
  found.push(...[...others].map((reason) => REASONS[reason] ?? limitWords(reason)));
  if (!found.length) return doc.health.reasons.length ? clean(doc.health.reasons[0]) : NONE;
  return found.length > 3 ? `${found.slice(0, 3).join("; ")}; and ${found.length - 3} more` : found.join("; ");
}

function nextOfAll(doc) {
  const tries = doc.dependencies.filter((each) => each.next_try !== null).sort((one, other) => one.next_try - other.next_try);
  if (tries.length) return `${clean(tries[0].name)}: ${nextOf(tries[0], doc.at)}`;
  if (doc.summary.drain_seconds) return `drained in about ${short(doc.summary.drain_seconds)}`;
  const led = doc.dependencies.find((each) => each.state === "open" && isLed(each));
  if (led) return `${clean(led.name)}: ${nextOf(led, doc.at)}`;
  const coming = doc.dependencies.find((each) => each.state === "half_open") ?? doc.dependencies.find(isLimited);
  if (coming) return `${clean(coming.name)}: ${nextOf(coming, doc.at)}`;
  return doc.summary.held_since === null ? NONE : "somebody must act: see below";
}

export function headline(doc) {
  const { summary } = doc;
  const parts = [];
  if (summary.open) parts.push(`■ ${summary.open} OPEN`);
  if (summary.ramping) parts.push(`◪ ${summary.ramping} RAMPING`);
  const limited = doc.dependencies.filter(isLimited).length;
  if (limited) parts.push(`◪ ${limited} LIMITED`);
  if (summary.overridden) parts.push(`◆ ${summary.overridden} overridden`);
  const held = summary.partitions_held + summary.queues_held;
  if (held) parts.push(`${held} held`);
  return parts.join(" · ") || `□ ${clean(doc.health.status)}`;
}

// -- events ---------------------------------------------------------------------------------------------------------------------------

const EVENTS = {
  CircuitOpened: (each) => (each.previous === "closed" ? `${clean(each.name)} is down: ${OPENED[each.reason]?.(null, null) ?? clean(each.reason)}` : `${clean(each.name)} stays down: ${OPENED[each.reason]?.(null, null) ?? clean(each.reason)}`),
  CircuitHalfOpened: (each) => `${clean(each.name)} is tried`,
  CircuitClosed: (each) => `${clean(each.name)} is back`,
  CircuitReset: (each) => `${clean(each.name)} was reset`,
  ThresholdExceeded: (each) => `${clean(each.name)}: ${(OPENED[each.reason] ?? (() => clean(each.reason)))(each.value, each.threshold)}`,
  LimitChanged: (each) => `${clean(each.name)} admits ${each.limit} in parallel, not ${each.previous}`,
  OverrideSet: (each) => `${clean(each.name)} is ${(OVERRIDES[each.override] ?? clean(each.override)).toLowerCase()} now`,
  OverrideCleared: (each) => `${clean(each.name)} follows its calls again`,
  LimitBegan: (each) => `${clean(each.dependency)} ${each.observed ? "would let" : "lets"} ${letThrough(each.pace, each.width)}`,
  LimitMoved: (each) => `${clean(each.dependency)} lets ${letThrough(each.pace, each.width)} now`,
  LimitEnded: (each) => `${clean(each.dependency)} limits nothing any more, after ${short(each.lasted)}`,
  FleetOpened: (each) => (each.workers ? `the fleet waits for ${clean(each.dependency)}: ${plural(each.failures, "call")} in a row failed at ${plural(each.workers, "worker")}` : `the fleet waits for ${clean(each.dependency)}`),
  FleetRecovered: (each) => `the fleet has ${clean(each.dependency)} back after ${short(each.seconds)}`,
  ConductorChanged: (each) => `${each.own ? "this worker" : `worker ${clean(each.conductor)}`} conducts for ${clean(each.dependency)}${each.takeover ? ", because another one fell silent" : ""}`,
  LocalCauseFound: (each) => `${clean(each.dependency)} fails at ${each.bad} of ${plural(each.callers, "worker")}: look at this worker first`,
  FleetLogFellSilent: (each) => `the fleet's log has been silent for ${short(each.seconds)}: this worker goes by its own rules`,
  FleetLogCameBack: (each) => `the fleet's log answers again, after ${short(each.seconds)}`,
  FleetMembersChanged: (each) => `the fleet has ${plural(each.size, "worker")} now`,
  FleetOrdered: (each) => `${clean(each.word).replaceAll("_", " ")} ${clean(each.dependency)} for the whole fleet by ${clean(each.actor)}: ${clean(each.reason)}`,
  SourceHeld: (each) => `${clean(each.source)} is held: ${each.reasons.map((reason) => limitWords(reason.replace(/^circuit:/, ""))).join(", ")}`,
  SourceReleased: (each) => `${clean(each.source)} goes on after ${short(each.held_for)}`,
  SourceBlocked: (each) => `${clean(each.source)} waits behind message ${each.position}: ${clean(each.error)}`,
  SourceFallingBack: (each) => `${clean(each.source)} falls back`,
  OutageSuspected: (each) => `an outage that no need describes: ${clean(each.error)}`,
  OutageOver: (each) => `the suspected outage is over after ${short(each.held_for)}`,
  MessageSkipped: (each) => `${clean(each.source)}: message ${each.position} was skipped`,
  CommandGiven: (each) => `${clean(each.command).replaceAll("_", " ")} ${clean(each.target)} by ${clean(each.actor)}: ${clean(each.reason)}`,
  CommandEnded: (each) => `${clean(each.given.command).replaceAll("_", " ")} ${clean(each.given.target)} by ${clean(each.given.actor)} has ended`,
};

function letThrough(pace, width) {
  if (pace !== null) return `${rate(pace)} through`;
  if (width === 0) return "nothing through";
  return width === null ? "any number of calls through" : `${count(width)} in parallel through`;
}

// One line about an event. One of a newer worker, that this page does not know, by its name.
export function told(each) {
  const names = [each.name, each.source].filter((name) => typeof name === "string").map((name) => clean(name));
  return EVENTS[each.event]?.(each) ?? [clean(each.event).replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase(), ...names].join(" ");
}
