// The public API, as any other client uses it.

const BASE = new URL("v1/", document.baseURI);
const TIMEOUT_MS = 20_000;
const UPLOAD_TIMEOUT_MS = 600_000;
const REWRITE_TIMEOUT_MS = 60_000;
const STREAM_SILENCE_MS = 45_000;

/** What the server refused, by its error envelope. */
export class ApiError extends Error {
  constructor(status, error, requestId, retryAfter) {
    super(error.message);
    this.status = status;
    this.code = error.code ?? "unknown";
    this.param = error.param ?? null;
    this.requestId = requestId;
    this.retryAfterSeconds = Number(retryAfter) || null;
  }

  /** Whether the same request may be answered later. */
  get isPassing() {
    return this.status >= 500 && this.code !== "unsupported";
  }
}

/** No answer, or one of something that is not the server. */
export class NoAnswer extends Error {}

/** JSON with seeds as text: they go up to 2^63 - 1, and numbers in a browser are exact to 2^53 only. */
export function parse(text) {
  // Within a JSON string a quote is written \", so this finds names of fields only.
  return JSON.parse(text.replace(/"seed"\s*:\s*(\d+)/g, '"seed":"$1"'));
}

async function request(path, { timeoutMs = TIMEOUT_MS, signal = null, ...options } = {}) {
  const limits = [AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])];
  const whole = { credentials: "same-origin", cache: "no-store", ...options, signal: AbortSignal.any(limits) };
  let answer;
  let text;
  try {
    answer = await fetch(new URL(path, BASE), whole);
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new NoAnswer(String(error));
  }
  if (answer.ok && !text) return null;
  const { headers } = answer;
  if (options.method === "HEAD") throw new ApiError(answer.status, { message: "" }, headers.get("x-request-id"), null);
  let body;
  try {
    body = parse(text);
  } catch {
    throw new NoAnswer(`not JSON (${answer.status})`);
  }
  if (answer.ok) return body;
  if (!body.error) throw new NoAnswer(`no error in the answer (${answer.status})`);
  throw new ApiError(answer.status, body.error, headers.get("x-request-id"), headers.get("retry-after"));
}

function json(body) {
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

export const api = {
  models: () => request("models"),
  list: (limit, after) => request(`videos?${new URLSearchParams({ limit, order: "desc", ...(after && { after }) })}`),
  get: (id) => request(`videos/${encodeURIComponent(id)}`),
  plan: (fields, signal) => request("videos/plan", { ...json(fields), signal }),
  rewrite: (fields, signal) => request("prompts/rewrite", { ...json(fields), signal, timeoutMs: REWRITE_TIMEOUT_MS }),
  hasContent: (id) => request(`videos/${encodeURIComponent(id)}/content`, { method: "HEAD" }),
  cancel: (id) => request(`videos/${encodeURIComponent(id)}/cancel`, { method: "POST" }),
  remove: (id) => request(`videos/${encodeURIComponent(id)}`, { method: "DELETE" }),
  session: () => request("session"),
  enter: (key) => request("session", json({ key })),
  leave: () => request("session", { method: "DELETE" }),
  create,
  again,
};

/** Send a video to be made. The same key makes it once, however often it is sent. */
function create(fields, file, idempotencyKey) {
  const form = new FormData();
  const lines = {}; // a form would turn their line ends into those of Windows; JSON keeps them
  for (const [name, value] of Object.entries(fields)) {
    if (value.includes("\n")) lines[name] = value;
    else form.append(name, value);
  }
  if (Object.keys(lines).length) form.append("extra_body", JSON.stringify(lines));
  if (file) form.append("input_reference", file, "input");
  const headers = { "idempotency-key": idempotencyKey };
  return request("videos", { method: "POST", body: form, headers, timeoutMs: UPLOAD_TIMEOUT_MS });
}

/** Make a video again from the image or video that the server has of it. */
function again(id, fields, idempotencyKey) {
  const { headers, ...rest } = json(fields);
  const path = `videos/${encodeURIComponent(id)}/remix`;
  return request(path, { ...rest, headers: { ...headers, "idempotency-key": idempotencyKey } });
}

export function contentUrl(id, variant) {
  const query = variant ? `?variant=${variant}` : "";
  return new URL(`videos/${encodeURIComponent(id)}/content${query}`, BASE).href;
}

/** The address of a video's newest preview, another one for each picture; null if there is none yet. */
export function previewUrl(job) {
  const link = job.links?.preview;
  return link ? new URL(link.replace(/^\/v1\//, ""), BASE).href : null;
}

export function newKey() {
  // crypto.randomUUID is there for https and this machine only
  const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Call back with every snapshot of a video, also with the last word of a deleted one, until it ends, the stream breaks
 * or the signal is aborted.
 * By fetch, because EventSource hides the status of a refusal. The poll goes on beside it: events are only quicker.
 */
export async function follow(id, onSnapshot, signal) {
  const silence = new AbortController();
  let timer = 0;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), STREAM_SILENCE_MS);
  };
  heard();
  try {
    const url = new URL(`videos/${encodeURIComponent(id)}/events`, BASE);
    const options = { headers: { accept: "text/event-stream" }, credentials: "same-origin", cache: "no-store" };
    const answer = await fetch(url, { ...options, signal: AbortSignal.any([signal, silence.signal]) });
    if (!answer.ok || !answer.body) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      rest += value.replaceAll("\r", "");
      const events = rest.split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) onSnapshot(parse(data.map((line) => line.slice(5)).join("\n")));
      }
    }
  } catch (error) {
    if (error instanceof SyntaxError) throw error;
    // broken or aborted: the poll knows more
  } finally {
    clearTimeout(timer);
  }
}
