// The event stream, read by `fetch`: an EventSource can send no token in a header, and one in an address would be in logs and histories.

// A worker sends a frame every second. After so long a silence the connection is dead, whatever it says (milliseconds).
const SILENT_FOR = 6000;
// The waits before it connects again; the last one for as long as it takes (milliseconds).
const WAITS = [250, 500, 1000, 2000];
// What the first connection asks for: all events that the worker still has (control/feed.py).
const FROM_THE_FIRST = "first";

// The tokens of this tab. They are in its memory alone: a reload forgets them, and nothing that reads what a browser keeps finds them.
export const tokens = { read: "", command: "" };

export function headers(more = {}) {
  const token = tokens.read || tokens.command;
  return token ? { authorization: `Bearer ${token}`, ...more } : more;
}

// Follow the stream for ever. `take(event, data)` gets each event, `say(light, text)` how the connection is; `askToken()` resolves when
// there is another token.
export async function follow(take, say, askToken) {
  let last = FROM_THE_FIRST;
  for (let tries = 0; ; tries += 1) {
    try {
      await read(last, (event, data, id) => {
        tries = -1; // it works: the next wait is a short one
        last = id || last;
        take(event, data);
      }, say);
    } catch (error) {
      if (error instanceof NeedsToken) {
        say("off", "a token is needed");
        await askToken();
        tries = -1;
        continue;
      }
    }
    say("off", "the worker does not answer; trying again");
    await new Promise((wake) => setTimeout(wake, WAITS[Math.min(Math.max(tries, 0), WAITS.length - 1)]));
  }
}

class NeedsToken extends Error {}

async function read(last, take, say) {
  const abort = new AbortController();
  let watch = setTimeout(() => abort.abort(), SILENT_FOR);
  try {
    const answer = await fetch("events", { headers: headers({ "last-event-id": last }), cache: "no-store", signal: abort.signal });
    if (answer.status === 401) throw new NeedsToken();
    if (!answer.ok) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), SILENT_FOR);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) parse(block, take, say);
    }
  } finally {
    clearTimeout(watch);
  }
}

function parse(block, take, say) {
  const fields = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name) fields[name] = value;
  }
  if (!fields.data) return;
  say("live", "live");
  take(fields.event, JSON.parse(fields.data), fields.id);
}
