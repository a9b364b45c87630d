// The labelling page: shows clips, takes key presses, and sees to it that each of them is saved.

const SPEEDS = [1, 0.5, 0.25];
const NUM_AHEAD = 4; // the clip that is shown, and the next three
const RETRY_MS = [500, 1000, 2000, 4000];
const REQUEST_TIMEOUT_MS = 15000;

const element = (id) => document.getElementById(id);

let start; // what the server tells of the dataset
let annotator = "";
let items = []; // answered ones, the one that is shown, and those that come next
let place = 0;
let speed = 0;
let isArmed = false; // the next digit says "unsure"
let isFetching = false;
let isFetchDue = false; // asked for while another one was on its way
let isComplete = false; // the server has nothing more
let waitsSince = 0; // when the shown clip came up, or the page was last hidden
const videos = new Map(); // by token
const broken = new Map(); // reasons, by token
const beginnings = new Set(); // tokens of videos of which not all is shown

// What was pressed and is not yet saved. It is also in localStorage: closing the page loses nothing.
const outbox = { entries: [], isSending: false, numFailures: 0, refused: [] };

// The labelling server has looked at what was sent, and it is wrong: sent again it would be as wrong.
class Refused extends Error {}
// Something answers, but does not take it now: no token, no space, another folder or another program on this port.
class NotTaken extends Error {}

async function request(path, body) {
  const options = { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS), headers: {} };
  if (start) options.headers["x-label-folder"] = start.folder_key;
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  const response = await fetch(path, options);
  const answer = await response.json().catch(() => undefined);
  if (response.ok && answer !== undefined) return answer;
  const reason = answer?.error ?? JSON.stringify(answer?.detail ?? `${response.status} ${response.statusText}`);
  throw response.status === 422 && answer ? new Refused(reason) : new NotTaken(reason);
}

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

// Saving

const storagePrefix = () => `cogvideox-label/${start.folder_key}/${annotator}/`;

function loadOutbox() {
  outbox.entries = [];
  for (let index = 0; index < localStorage.length; index++) {
    const key = localStorage.key(index);
    if (key.startsWith(storagePrefix())) {
      outbox.entries.push({ key, body: JSON.parse(localStorage.getItem(key)) });
    }
  }
  outbox.entries.sort((a, b) => (a.key < b.key ? -1 : 1));
}

function send(path, body) {
  const random = Math.random().toString(36).slice(2, 8);
  const key = `${storagePrefix()}${Date.now()}-${performance.now().toFixed(3).padStart(16, "0")}-${random}`;
  const entry = { key, body: { path, ...body, annotator } };
  try {
    localStorage.setItem(key, JSON.stringify(entry.body));
  } catch {
    // The browser keeps nothing (private mode): the page itself still does, and says what is not saved.
  }
  outbox.entries.push(entry);
  empty();
}

async function empty() {
  showSaved();
  if (outbox.isSending) return;
  outbox.isSending = true;
  while (outbox.entries.length) {
    const entry = outbox.entries[0];
    try {
      const { path, ...body } = entry.body;
      const answer = await request(path, body);
      if (answer.progress) showProgress(answer.progress);
      forget(entry);
      outbox.numFailures = 0;
    } catch (error) {
      if (error instanceof Refused) {
        outbox.refused.push(error.message);
        forget(entry);
      } else {
        outbox.numFailures++;
        outbox.failure = error instanceof NotTaken ? `the server does not take it: ${error.message}.` : "the server does not answer.";
        showSaved();
        await wait(RETRY_MS[Math.min(outbox.numFailures, RETRY_MS.length) - 1]);
      }
    }
    showSaved();
  }
  outbox.isSending = false;
  if (items.length - place < NUM_AHEAD) fetchItems();
}

function forget(entry) {
  outbox.entries.shift();
  localStorage.removeItem(entry.key);
}

function showSaved() {
  const saved = element("saved");
  const num = outbox.entries.length;
  const isLost = outbox.numFailures > 0 && num > 0;
  saved.className = isLost ? "is-lost" : num ? "is-waiting" : "";
  saved.textContent = isLost ? `${num} NOT saved` : num ? "Saving…" : items.length ? "✓ Saved" : "";
  const parts = [];
  if (isLost) {
    const presses = num === 1 ? "One key press is" : `${num} key presses are`;
    parts.push(`${presses} NOT saved: ${outbox.failure} This browser keeps what was pressed and tries again; you may go on.`);
  }
  for (const reason of new Set(outbox.refused)) parts.push(`NOT saved, the server refused it: ${reason}`);
  const text = parts.join(" ");
  const alarm = element("alarm");
  if (alarm.dataset.text === text) return; // said once, not at every try
  alarm.dataset.text = text;
  alarm.replaceChildren(text);
  alarm.hidden = !text;
  if (outbox.refused.length) {
    const button = document.createElement("button");
    button.textContent = "I have read it";
    button.onclick = () => {
      outbox.refused = [];
      showSaved();
    };
    alarm.append(button);
  }
}

window.addEventListener("beforeunload", (event) => {
  if (outbox.entries.length) event.preventDefault();
});

// Clips

const current = () => items[place];
const isDone = (item) => start.labels.every((label) => label.name in item.labels);

function adopt(item) {
  return { ...item, undo: [], seconds: item.seconds ?? 0 };
}

async function fetchItems() {
  if (isFetching) {
    isFetchDue = true;
    return;
  }
  // Until the server knows that a clip was passed over, it would give it again; `empty` comes back here.
  if (outbox.entries.some((entry) => entry.body.path === "api/pass")) return;
  isFetching = true;
  isFetchDue = false;
  const held = items.slice(-60).map((item) => item.item);
  const num = NUM_AHEAD - (items.length - place);
  let delay = 0;
  try {
    const query = new URLSearchParams({ annotator, held: held.join(","), num });
    const answer = await request(`api/items?${query}`);
    const known = new Set(items.slice(place).map((item) => item.item));
    const fresh = answer.items.filter((item) => !known.has(item.item)).map(adopt);
    items.push(...fresh);
    isComplete = !answer.items.length;
    showProgress(answer.progress);
    if (fresh.length) show(false);
    else if (!current()) showEnd();
  } catch (error) {
    if (!current()) say(`Waiting for the server… (${error.message})`);
    delay = 2000;
  }
  isFetching = false;
  if (delay || isFetchDue) {
    await wait(delay);
    if (items.length - place < NUM_AHEAD) fetchItems();
  }
}

function show(isNew = true) {
  const item = current();
  if (isNew) {
    waitsSince = performance.now();
    isArmed = false;
    window.scrollTo(0, 0);
  }
  const wanted = items.slice(Math.max(0, place - 1), place + NUM_AHEAD);
  for (const [token, video] of videos) {
    if (!wanted.some((other) => other.video === token)) {
      video.removeAttribute("src");
      video.load();
      video.remove();
      videos.delete(token);
    }
  }
  showBeginning();
  if (item) play(item);
  for (const other of items.slice(place + 1, place + NUM_AHEAD)) prepare(other);
  showLabels();
  if (!item) (isComplete && !outbox.entries.length ? showEnd : () => say("Loading…"))();
}

function prepare(item) {
  if (videos.has(item.video)) return videos.get(item.video);
  const video = document.createElement("video");
  Object.assign(video, { muted: true, loop: true, playsInline: true, preload: "auto" });
  video.tabIndex = -1;
  video.setAttribute("aria-label", "The clip, in a loop");
  video.onerror = () => explain(item, video);
  video.onloadeddata = () => lookUp(item);
  video.onplaying = () => {
    if (current()?.video === item.video) say("");
  };
  video.src = `video/${item.video}`;
  videos.set(item.video, video);
  element("videos").append(video);
  return video;
}

function play(item) {
  const video = prepare(item);
  for (const other of videos.values()) {
    const isShown = other === video;
    other.classList.toggle("is-shown", isShown);
    other.ariaHidden = isShown ? null : "true";
    if (!isShown) other.pause();
  }
  video.playbackRate = video.defaultPlaybackRate = SPEEDS[speed];
  if (video.dataset.item !== item.item) {
    video.dataset.item = item.item;
    if (video.readyState) video.currentTime = 0;
  }
  if (broken.has(item.video)) return sayBroken(broken.get(item.video));
  if (video.readyState < 2) say("Loading…");
  video.play().catch((error) => {
    if (error.name === "NotAllowedError") say("Click here, or press r, to play.");
  });
}

async function explain(item, video) {
  let reason;
  try {
    reason = (await request(`api/clip/${item.video}`)).reason || "the browser cannot play it";
  } catch (error) {
    if (error instanceof Refused) reason = error.message;
    else {
      if (current()?.video === item.video) say("Waiting for the server…");
      await wait(2000);
      if (videos.get(item.video) === video) video.load(); // comes back here if it fails again
      if (current()?.video === item.video) play(current());
      return;
    }
  }
  broken.set(item.video, reason);
  if (current()?.video === item.video) sayBroken(reason);
}

async function lookUp(item) {
  try {
    if ((await request(`api/clip/${item.video}`)).is_beginning) beginnings.add(item.video);
  } catch {
    return; // what is wrong with the server is told elsewhere
  }
  showBeginning();
}

function showBeginning() {
  const token = current()?.video;
  const length_s = videos.get(token)?.duration;
  const isPart = beginnings.has(token) && Number.isFinite(length_s);
  element("beginning").hidden = !isPart;
  if (isPart) element("beginning").textContent = `Only the first ${Math.round(length_s)} s of this video are shown.`;
}

function say(text) {
  element("message").textContent = text;
  element("message").hidden = !text;
  element("skip").hidden = true;
}

function sayBroken(reason) {
  say(`This clip cannot be shown: ${reason}.`);
  element("skip").hidden = false;
}

function showEnd() {
  for (const video of videos.values()) video.classList.remove("is-shown");
  say("All clips are labelled. Thank you.");
}

function showProgress(progress) {
  element("bar").max = Math.max(1, progress.num_all);
  element("bar").value = progress.num_done;
  element("count").textContent = `${progress.num_done} of ${progress.num_all}`;
  element("rate").textContent = progress.clips_per_hour ? `${Math.round(progress.clips_per_hour)} clips/h` : "";
}

// Labels

function makeLabels() {
  element("meanings").replaceChildren(
    ...start.labels.flatMap((label, index) => [
      Object.assign(document.createElement("dt"), { textContent: `${index + 1} ${label.title}` }),
      Object.assign(document.createElement("dd"), { textContent: label.meaning }),
    ]),
  );
  element("labels").replaceChildren(
    ...start.labels.map((label, index) => {
      const row = document.createElement("li");
      const mark = document.createElement("button");
      mark.type = "button";
      mark.className = "mark";
      mark.dataset.label = label.name;
      mark.setAttribute("aria-keyshortcuts", String(index + 1));
      for (const [name, text] of [["kbd", index + 1], ["title", label.title], ["said", ""], ["meaning", label.meaning]]) {
        const part = document.createElement(name === "kbd" ? "kbd" : "span");
        part.className = name;
        part.textContent = text;
        mark.append(part);
      }
      mark.onclick = () => toggle(label.name);
      const unsure = document.createElement("button");
      unsure.type = "button";
      unsure.className = "unsure";
      unsure.textContent = "?";
      unsure.title = "Unsure";
      unsure.ariaLabel = `Unsure about ${label.title}`;
      unsure.onclick = () => setUnsure(label.name);
      row.append(mark, unsure);
      return row;
    }),
  );
}

function showLabels() {
  const item = current();
  for (const row of element("labels").children) {
    const [mark, unsure] = row.children;
    const value = item?.labels[mark.dataset.label];
    mark.classList.toggle("is-bad", value === true);
    mark.classList.toggle("is-good", value === false);
    mark.classList.toggle("is-unsure", value === null);
    mark.ariaPressed = value === null ? "mixed" : String(value === true);
    mark.querySelector(".said").textContent = { true: "yes", false: "no", null: "unsure" }[String(value)] ?? "";
    unsure.ariaPressed = String(value === null);
    mark.disabled = unsure.disabled = !item;
  }
  const isClean = item && start.labels.every((label) => item.labels[label.name] === false);
  element("nothing").ariaPressed = String(Boolean(isClean));
  element("armed").hidden = !isArmed;
  element("back").disabled = place === 0;
  element("undo").disabled = !item?.undo.length;
  for (const id of ["next", "nothing", "note"]) element(id).disabled = !item;
  if (document.activeElement !== element("note")) element("note").value = item?.note ?? "";
  element("where").textContent = item ? (item.source && item.source !== item.clip ? `${item.source} · ${item.clip}` : item.clip) : "";
}

function change(labels, { isUndo = false } = {}) {
  const item = current();
  if (!item) return;
  const isSame = JSON.stringify(ordered(labels)) === JSON.stringify(ordered(item.labels));
  if (!isSame) {
    if (!isUndo) item.undo.push(item.labels);
    item.labels = labels;
    save(item);
  }
  showLabels();
}

const ordered = (labels) => start.labels.map((label) => (label.name in labels ? [labels[label.name]] : []));

function save(item) {
  const now = performance.now();
  if (!document.hidden) item.seconds += (now - waitsSince) / 1000;
  waitsSince = now;
  const seconds = Math.min(86400, Math.round(item.seconds * 100) / 100);
  send("api/answer", { item: item.item, labels: item.labels, seconds, note: item.note });
}

document.addEventListener("visibilitychange", () => {
  const now = performance.now();
  if (document.hidden && current()) current().seconds += (now - waitsSince) / 1000;
  waitsSince = now;
});

function toggle(name) {
  if (!current()) return;
  if (isArmed) return setUnsure(name);
  change({ ...current().labels, [name]: current().labels[name] !== true });
}

function setUnsure(name) {
  isArmed = false;
  if (current()) change({ ...current().labels, [name]: null });
}

function nothingBad() {
  if (!current()) return;
  change(Object.fromEntries(start.labels.map((label) => [label.name, false])));
  if (element("auto").checked) next();
}

function undo() {
  const item = current();
  if (item?.undo.length) change(item.undo.pop(), { isUndo: true });
}

function next() {
  const item = current();
  if (!item) return;
  takeNote();
  if (Object.keys(item.labels).length) {
    const rest = Object.fromEntries(start.labels.map((label) => [label.name, false]));
    if (!isDone(item)) change({ ...rest, ...item.labels });
    place++;
  } else {
    items.splice(place, 1); // comes again
    send("api/pass", { item: item.item });
    flash("Passed over: it comes again at the end. Press 0 if nothing is bad.");
  }
  show();
  if (items.length - place < NUM_AHEAD) fetchItems();
}

function back() {
  if (place === 0) return;
  takeNote();
  place--;
  show();
}

function skip() {
  const item = current();
  item.note ||= `cannot be shown: ${broken.get(item.video)}`.slice(0, 1000);
  change(Object.fromEntries(start.labels.map((label) => [label.name, null])));
  next();
}

function takeNote() {
  const item = current();
  const note = element("note").value.trim();
  if (item && note !== item.note) {
    item.note = note;
    save(item);
  }
  element("note").blur();
}

let flashTimer;
function flash(text) {
  clearTimeout(flashTimer);
  element("armed").textContent = text;
  element("armed").hidden = false;
  flashTimer = setTimeout(() => {
    element("armed").textContent = "unsure about… 1 to 6";
    element("armed").hidden = !isArmed;
  }, 3000);
}

function arm() {
  clearTimeout(flashTimer);
  isArmed = !isArmed;
  element("armed").textContent = "unsure about… 1 to 6";
  element("armed").hidden = !isArmed;
}

function slower() {
  speed = (speed + 1) % SPEEDS.length;
  element("speed").textContent = `${SPEEDS[speed]}×`;
  if (current()) play(current());
}

function restart() {
  const video = current() && videos.get(current().video);
  if (video) {
    video.currentTime = 0;
    play(current());
  }
}

// Agreement and help

const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(0)} %`);

async function showAgreement() {
  const dialog = element("agreement");
  try {
    const found = await request("api/agreement");
    element("agreement-summary").textContent =
      `${found.num_clips} clips answered, ${found.num_shared} by two annotators or more, ${found.num_repeats} seen twice by the same one.`;
    element("agreement-rows").replaceChildren(
      ...found.labels.map((label) => {
        const row = document.createElement("tr");
        const title = document.createElement("th");
        title.scope = "row";
        title.textContent = start.labels.find((other) => other.name === label.label).title;
        const cells = [
          `${label.num_positive} of ${label.num_judged}`,
          label.num_clips,
          percent(label.agreement),
          label.alpha === null ? "–" : label.alpha.toFixed(2),
          label.num_repeats,
          percent(label.self_agreement),
        ].map((text) => {
          const cell = document.createElement("td");
          cell.textContent = text;
          return cell;
        });
        row.append(title, ...cells);
        return row;
      }),
    );
    element("agreement-people").textContent = Object.entries(found.annotators)
      .map(([name, num]) => `${name}: ${num}`)
      .join(" · ");
  } catch (error) {
    element("agreement-summary").textContent = `The figures cannot be had: ${error.message}`;
    element("agreement-rows").replaceChildren();
  }
  if (!dialog.open) dialog.showModal();
}

function showHelp() {
  if (element("help").open) element("help").close();
  else if (!element("agreement").open) element("help").showModal();
}

// Keys

const KEYS = {
  0: nothingBad,
  " ": nothingBad,
  Enter: next,
  ArrowRight: next,
  ArrowLeft: back,
  z: undo,
  s: slower,
  r: restart,
  u: arm,
  "?": showHelp,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (element("work").hidden) return;
  const target = event.target;
  if (target === element("note")) {
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault();
      takeNote();
    }
    return;
  }
  if (element("agreement").open || (element("help").open && event.key !== "?")) return;
  // A button that was reached with Tab keeps its own keys.
  if (["Enter", " "].includes(event.key) && target.closest?.("button, input, a")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const label = /^[1-9]$/.test(key) ? start.labels[Number(key) - 1] : undefined;
  const call = label ? () => toggle(label.name) : KEYS[key];
  if (!call) return;
  event.preventDefault();
  if (!event.repeat) call();
});

// After a click the keys are the page's again.
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button, input[type=checkbox]");
  if (button && event.detail > 0 && !element("work").hidden) button.blur();
});

const clicks = {
  back, undo, restart, slower, nothing: nothingBad, next, skip,
  "show-agreement": showAgreement,
  "show-help": showHelp,
  "change-name": () => welcome(),
};
for (const [id, call] of Object.entries(clicks)) element(id).addEventListener("click", () => call());
element("stage").addEventListener("click", (event) => {
  if (event.target !== element("skip") && current()) play(current());
});
element("note").addEventListener("change", takeNote);
element("auto").checked = localStorage.getItem("cogvideox-label-auto") === "1";
element("auto").addEventListener("change", () => {
  localStorage.setItem("cogvideox-label-auto", element("auto").checked ? "1" : "0");
});

// Names

function welcome(error = "") {
  for (const video of videos.values()) video.pause();
  element("work").hidden = true;
  element("welcome").hidden = false;
  element("name-error").textContent = error;
  element("names").replaceChildren(
    ...Object.keys(start.annotators).map((name) => Object.assign(document.createElement("option"), { value: name })),
  );
  element("name").value = annotator;
  element("name").focus();
  element("name").select();
}

element("name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(element("name").value.trim().normalize("NFC"));
});

async function begin(name) {
  if (outbox.entries.length && name !== annotator) {
    return welcome(`Key presses of ${annotator} are not saved yet; wait until they are.`);
  }
  let answer;
  annotator = name;
  try {
    loadOutbox();
    if (outbox.entries.length) await empty(); // of a page that was closed before they were saved
    answer = await request(`api/items?${new URLSearchParams({ annotator: name })}`);
  } catch (error) {
    return welcome(error.message);
  }
  sessionStorage.setItem("cogvideox-label-annotator", name);
  for (const video of videos.values()) video.remove();
  videos.clear();
  element("change-name").textContent = name;
  element("change-name").ariaLabel = `Annotator ${name}: change`;
  element("welcome").hidden = true;
  element("work").hidden = false;
  items = [...answer.history, ...answer.items].map(adopt);
  place = answer.history.length;
  isComplete = !answer.items.length;
  showProgress(answer.progress);
  showSaved();
  show();
}

async function open() {
  for (;;) {
    try {
      start = await request("api/start");
      break;
    } catch (error) {
      element("alarm").hidden = false;
      element("alarm").textContent = `The server cannot be used: ${error.message}`;
      if (error instanceof Refused) return;
      await wait(2000);
    }
  }
  element("alarm").hidden = true;
  element("dataset").textContent = start.dataset;
  element("dataset").title = `${start.num_clips} clips, ${start.order} order`;
  document.title = `${start.dataset}: label clips`;
  makeLabels();
  const name = sessionStorage.getItem("cogvideox-label-annotator") ?? start.annotator;
  if (name) await begin(name);
  else welcome();
}

open();
