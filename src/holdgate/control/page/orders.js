// Commands: a dialog that asks for reason, name, end and token, and once more where a command can hurt.
import { clean, make, put } from "./elements.js";
import { headers, tokens } from "./stream.js";
import { NONE } from "./words.js";

// What each command does. `lasts`: it takes an end. `hurts`: what may go wrong, which is asked about before it is sent.
const COMMANDS = {
  hold: { title: "Hold", lasts: true, does: "No handler starts for it. It keeps its place, and nothing is lost." },
  unhold: { title: "End the hold", does: "The operators' hold on it ends. What else holds it goes on." },
  retry: { title: "Retry now", does: "What waits here for a later try is tried now." },
  skip: { title: "Skip a message", at: true, does: "The message that blocks it is passed by.", hurts: "The message goes to the dead letters, or is lost where there are none." },
  probe: { title: "Try now", does: "One message is admitted now, and not when the wait ends." },
  "force-open": { title: "Force open", lasts: true, does: "Nothing that needs it starts.", hurts: "Everything that needs it is held on this worker, although it may work." },
  disable: { title: "Disable", lasts: true, does: "Every call goes through, and nothing is counted.", hurts: "In an outage nothing is held: good messages fail, and may end in the dead letters." },
  observe: { title: "Only observe", lasts: true, does: "Every call goes through; calls are counted.", hurts: "In an outage nothing is held: good messages fail, and may end in the dead letters." },
  "clear-override": { title: "End the override", does: "It follows its calls again." },
  reset: { title: "Reset", does: "It is closed, and forgets what it has seen.", hurts: "If it is still down, all its messages go to it until it has failed often enough." },
  "fleet-hold": { title: "Hold for the whole fleet", lasts: true, does: "No worker of the fleet calls it, those that come later included. Nothing is lost.", hurts: "Every worker of the fleet stops calling it, although it may work." },
  "fleet-release": { title: "Release for the whole fleet", does: "An order to the whole fleet ends. All come back as from an outage: one probe, then slowly." },
  "fleet-force-open": { title: "Force open for the whole fleet", lasts: true, does: "Its circuit opens at every worker, and nobody probes.", hurts: "Every worker of the fleet stops calling it, although it may work." },
  "fleet-reset": { title: "Reset for the whole fleet", does: "Its circuit closes at every worker, at the full rate.", hurts: "If it is still down, every worker sends all its messages to it until that has failed often enough." },
};
// The worker's own default is the half hour. `null` is no end.
const ENDS = [["10 minutes", 600], ["30 minutes", 1800], ["1 hour", 3600], ["4 hours", 14400], ["1 day", 86400], ["no end", null]];
const DEFAULT_END = 1;

export function commandsOfDependency(each) {
  const found = each.state === "closed" ? [] : ["probe", "reset"];
  return [...found, ...(each.override ? ["clear-override"] : []), "force-open", "disable", "observe"];
}

export function commandsOfSource(each) {
  const found = each.reasons.includes("operator") ? ["unhold", "hold"] : ["hold"];
  return [...found, "retry", ...(each.blocked ? ["skip"] : [])];
}

export function commandsOfFleet(each) {
  if (each.word) return ["fleet-release", "fleet-hold", "fleet-force-open", "fleet-reset"];
  return ["fleet-hold", "fleet-force-open", ...(each.course === "well" ? [] : ["fleet-reset"])];
}

// What ends a command that is in force; null for what ends by itself.
export function commandThatEnds(command) {
  return { hold: "unhold", force_open: "clear-override", disable: "clear-override", observe: "clear-override" }[command] ?? null;
}

let actor = "";

export class Orders {
  // `say(text)` shows what was done.
  constructor(dialog, say) {
    this.dialog = dialog;
    this.say = say;
  }

  // Ask for a command. `targets`: names that it may be given for, the first of them chosen; `position`: that of the message to skip.
  open(commands, targets, position = null) {
    const order = { commands, targets, position };
    this.#ask(order, { command: commands[0], target: targets[0] });
    this.dialog.showModal();
    this.dialog.querySelector("select, input").focus();
  }

  #ask(order, given) {
    const fields = {
      command: choice(order.commands.map((each) => [COMMANDS[each].title, each]), given.command),
      target: choice(order.targets.map((each) => [clean(each, 60), each]), given.target),
      reason: make("input", { required: true, maxlength: 500, autocomplete: "off" }),
      actor: make("input", { required: true, maxlength: 100, autocomplete: "off" }),
      end: choice(ENDS, given.end === undefined ? ENDS[DEFAULT_END][1] : given.end),
      token: make("input", { type: "password", autocomplete: "off", required: true }),
    };
    fields.reason.value = given.reason ?? "";
    fields.actor.value = actor;
    fields.token.value = tokens.command;
    const does = make("p", { class: "does" });
    const end = labelled("For", fields.end);
    const follow = () => {
      const chosen = COMMANDS[fields.command.value()];
      put(does, chosen.at ? `${chosen.does} It is at position ${order.position}.` : chosen.does);
      end.hidden = !chosen.lasts;
    };
    fields.command.element.addEventListener("change", follow);
    follow();
    const form = make(
      "form", {}, make("h2", { id: "order-title" }, "Give a command"),
      labelled("Command", fields.command), labelled("To", fields.target), does,
      labelled("Reason", fields.reason), labelled("Your name", fields.actor), end, labelled("Token", fields.token),
      make("p", { class: "note" }, "The token stays in this tab's memory, until you reload the page."),
      this.#problem(given.problem), this.#buttons(["Continue", "Cancel"]),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      actor = fields.actor.value;
      tokens.command = fields.token.value.trim();
      const next = { command: fields.command.value(), target: fields.target.value(), reason: fields.reason.value, end: fields.end.value() };
      if (COMMANDS[next.command].hurts) this.#confirm(order, next);
      else this.#send(order, next);
    });
    this.dialog.replaceChildren(form);
  }

  // The second step. Nothing is chosen in advance, so that a key that is pressed twice does not confirm.
  #confirm(order, given) {
    const { title, hurts } = COMMANDS[given.command];
    const back = make("button", { type: "button" }, "Back");
    back.addEventListener("click", () => this.#ask(order, given));
    const form = make(
      "form", { class: "hurts" }, make("h2", { id: "order-title" }, `${title}: ${clean(given.target, 60)}?`), make("p", {}, `▲ ${hurts}`),
      make("p", { class: "buttons" }, back, make("button", { class: "danger" }, `${title}, I am sure`)),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(order, given);
    });
    this.dialog.replaceChildren(form);
    back.focus();
  }

  async #send(order, given) {
    const { lasts, at } = COMMANDS[given.command];
    const body = { target: given.target, reason: given.reason, actor, ...(lasts ? { for: given.end } : {}), ...(at ? { position: order.position } : {}) };
    for (const button of this.dialog.querySelectorAll("button")) button.disabled = true;
    const { done, text } = await send(given.command, body);
    if (done) {
      this.dialog.close();
      this.say(`${COMMANDS[given.command].title}: ${clean(given.target, 60)}. ${text}`);
    } else {
      this.#ask(order, { ...given, problem: text });
    }
  }

  #problem(text) {
    const shown = make("p", { role: "alert", class: "problem" });
    if (text) put(shown, `✕ ${text}`);
    return shown;
  }

  #buttons([go, leave]) {
    const cancel = make("button", { type: "button" }, leave);
    cancel.addEventListener("click", () => this.dialog.close());
    return make("p", { class: "buttons" }, cancel, make("button", {}, go));
  }
}

async function send(command, body) {
  try {
    const answer = await fetch(`commands/${command}`, {
      method: "POST",
      headers: { ...headers({ "content-type": "application/json" }), authorization: `Bearer ${tokens.command}` },
      body: JSON.stringify(body),
    });
    const found = await answer.json();
    if (!answer.ok) return { done: false, text: clean(found.error ?? answer.status, 400) };
    if (found.done === false) return { done: false, text: clean(found.text ?? NONE, 400) };
    return { done: true, text: found.messages === undefined ? "Done." : `Done: ${found.messages} messages.` };
  } catch {
    return { done: false, text: "the worker does not answer, so it is unknown whether this was done" };
  }
}

function labelled(title, field) {
  return make("label", {}, title, field.element ?? field);
}

// A list to choose from. Its values are any values: an option has only texts.
function choice(options, chosen) {
  const element = make("select", {}, ...options.map(([title]) => make("option", { dir: "auto" }, title)));
  element.selectedIndex = Math.max(0, options.findIndex(([, value]) => value === chosen));
  return { element, value: () => options[element.selectedIndex][1] };
}
