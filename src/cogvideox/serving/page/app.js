// The page: a prompt, what becomes of it, and all that was made. Everything it does goes through the public API.

import { ApiError, NoAnswer, api } from "./api.js";
import { Composer } from "./composer.js";
import { byId, make, say, setText } from "./dom.js";
import { textOfError } from "./errors.js";
import { Gallery } from "./gallery.js";
import { Jobs, isLive, originalOf, standing } from "./jobs.js";
import { settingsOf } from "./settings.js";
import { Stage, announce } from "./stage.js";
import { number, setLanguage, t, translatePage } from "./words.js";

const MODELS_RETRY_MS = 3000;

const jobs = new Jobs({ onChange: changed, onGone: gone, onList: showAll, onState: serverState });
const sent = (job) => {
  jobs.added(job);
  history.pushState(null, "", `#${job.id}`);
  // The keyboard stays at the prompt: the next one may follow.
  focusOn(job.id).then(() => byId("stage").scrollIntoView({ block: "nearest" }));
  say(t("said_queued", { prompt: job.prompt }));
};
const composer = new Composer(sent, () => jobs.read());
const gallery = new Gallery({ onExample: (prompt) => composer.use(prompt), onMore: readMore });
const stage = new Stage({
  cancel: (job) => attempt(() => jobs.cancel(job.id)),
  remove,
  retry,
  reuse: (job) => composer.reuse(job),
  useSeed: (seed) => {
    composer.setSeed(seed);
    byId("advanced").open = true;
    byId("seed").focus();
  },
  close: () => {
    history.pushState(null, "", location.pathname + location.search);
    focusOn(null);
    byId("prompt").focus();
  },
});

let server = { state: "ok", seconds: 0 };
let hasModels = false;
let needsKey = false;
let answer = () => {}; // takes what is said to the question that is open
let hasLooked = false;
let isShowing = false;

function changed(job, before) {
  announce(job, before);
  if (job.id === jobs.focused) stage.show(job);
  if (before && job.status !== before.status) composer.plan.askSoon(); // another place in the queue
  showSoon();
}

function gone(id) {
  if (id === jobs.focused) stage.clear(t("not_here"));
  showSoon();
}

/** Changes come in bunches: the list is drawn once for all of them. */
function showSoon() {
  if (isShowing) return;
  isShowing = true;
  requestAnimationFrame(() => {
    isShowing = false;
    showAll();
  });
}

function showAll() {
  const all = jobs.list();
  if (jobs.isLoaded && !hasLooked) {
    hasLooked = true;
    // Nothing is asked for: what is being made is what one comes back for.
    const made = all.find((job) => job.status === "in_progress") ?? all.findLast(isLive);
    if (made && !jobs.focused) focusOn(made.id);
  }
  gallery.focused = jobs.focused;
  gallery.show(all, jobs);
  const numLive = all.filter(isLive).length;
  const note = numLive ? t("queue_busy", { count: number(numLive) }) : t("queue_idle");
  setText(byId("queue-note"), jobs.isLoaded ? note : "");
  byId("queue-note").classList.toggle("is-busy", numLive > 0);
  const seen = jobs.all.get(jobs.focused);
  const isMade = seen?.status === "in_progress";
  document.title = isMade ? `${t("percent", { percent: seen.progress })} · ${t("title")}` : t("title");
}

/** Look at a video, or at none. What is looked at is in the address, so that a reload comes back to it. */
async function focusOn(id, { isAsked = false } = {}) {
  jobs.focus(id);
  if (!id) {
    stage.clear();
    showSoon();
    return;
  }
  let job = jobs.all.get(id) ?? null;
  if (!job) {
    try {
      job = await jobs.readJob(id);
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof NoAnswer)) throw error;
      return; // the poll says so, and reads it when the server is back
    }
  }
  if (jobs.focused !== id) return;
  if (job) stage.show(job);
  else stage.clear(t("not_here"));
  showSoon();
  if (isAsked) bringIntoView();
}

function bringIntoView() {
  const node = byId("stage");
  node.scrollIntoView({ block: "nearest", behavior: "auto" });
  node.focus({ preventScroll: true });
}

function idInAddress() {
  const id = location.hash.slice(1);
  return /^[\w-]{1,80}$/.test(id) && id !== "prompt" ? id : null;
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof NoAnswer)) throw error;
    const text = textOfError(error);
    byId("stage").querySelector(".actions")?.after(make("p", { class: "wrong", role: "alert" }, text));
  }
}

function asked(title, text, yes) {
  const dialog = byId("confirm-dialog");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  answer(false); // the question before, whose end is told a moment late
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => (answer = resolve));
}

async function remove(job) {
  if (!(await asked(t("confirm_delete"), t("confirm_delete_text"), t("delete")))) return;
  await attempt(async () => {
    await jobs.remove(job.id);
    if (jobs.focused !== job.id) return;
    history.replaceState(null, "", location.pathname + location.search);
    await focusOn(null);
    byId("gallery-title").tabIndex = -1;
    byId("gallery-title").focus();
  });
  say(t("said_deleted"));
}

/** Make it again with the same settings and seed. */
async function retry(job) {
  const isFromFile = job.input_kind !== "text";
  if (isFromFile && standing(job) === "expired") {
    composer.reuse(job); // the server has the file no more
    return;
  }
  const original = originalOf(job);
  const words = { prompt: job.prompt, ...(original && { original_prompt: original }) };
  const fields = { ...words, model: job.model };
  for (const [name, value] of Object.entries(settingsOf(job))) {
    if (value !== null && value !== undefined && value !== "") fields[name] = String(value);
  }
  if (isFromFile) {
    const same = job.input_kind === "video" ? { ...words, strength: job.strength } : words;
    await composer.deliver((key) => api.again(job.id, same, key), `again ${job.id}`);
  } else await composer.deliver((key) => api.create(fields, null, key), `again ${JSON.stringify(fields)}`);
}

async function readMore() {
  const button = byId("more");
  button.disabled = true;
  setText(button, t("loading"));
  const numBefore = byId("tiles").childElementCount;
  try {
    await jobs.readMore();
    byId("tiles").children[numBefore]?.querySelector("a")?.focus();
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof NoAnswer)) throw error;
    jobs.failed(error);
  } finally {
    button.disabled = false;
    setText(button, t("more"));
  }
}

function serverState(state, waitSeconds, error = null) {
  const wasBad = server.state !== "ok";
  server = { state, seconds: waitSeconds };
  needsKey = state === "key";
  showBanner();
  if (state === "key") askForKey(error);
  if (state !== "ok") return;
  if (wasBad) {
    say(t("back_online"));
    if (jobs.focused && !jobs.all.has(jobs.focused)) focusOn(jobs.focused);
    composer.plan.askSoon();
    stage.reload();
    gallery.reload();
    showSoon();
  }
  if (!hasModels) loadModels();
}

function showBanner() {
  const { state, seconds } = server;
  const isBad = state === "offline" || state === "unready";
  const isCutOff = state === "offline" && !navigator.onLine;
  const text = isCutOff ? t("offline_browser") : t(state, { seconds: number(seconds) });
  if (isBad) setText(byId("banner-text"), text);
  // Said once: the seconds go on.
  if (isBad && byId("banner").hidden) say(text);
  byId("banner").hidden = !isBad;
}

async function loadModels() {
  try {
    const { data } = await api.models();
    hasModels = data.length > 0;
    if (hasModels) composer.setModels(data);
    const session = await api.session();
    byId("leave").hidden = !(session.requires_key && session.is_signed_in);
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof NoAnswer)) throw error;
    if (error.status !== 401) setTimeout(() => hasModels || loadModels(), MODELS_RETRY_MS);
  }
}

function askForKey(error) {
  const dialog = byId("key-dialog");
  setText(byId("key-error"), error.status === 403 ? textOfError(error) : "");
  if (!dialog.open) dialog.showModal();
}

byId("confirm-dialog").addEventListener("close", ({ target }) => target.open || answer(target.returnValue === "yes"));
byId("key-dialog").addEventListener("cancel", (event) => event.preventDefault());
// Browsers close a dialog at the second Escape all the same; without a key there is nothing behind it.
byId("key-dialog").addEventListener("close", () => needsKey && byId("key-dialog").showModal());
byId("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  setText(byId("key-error"), "");
  try {
    await api.enter(byId("key").value.trim());
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof NoAnswer)) throw error;
    setText(byId("key-error"), error.status === 401 ? t("key_wrong") : textOfError(error));
    byId("key").focus();
    return;
  }
  byId("key").value = "";
  needsKey = false;
  byId("key-dialog").close();
  jobs.read();
});
byId("leave").addEventListener("click", async () => {
  await attempt(() => api.leave());
  location.reload();
});

byId("banner-retry").addEventListener("click", () => jobs.read());
addEventListener("offline", () => serverState("offline", 1));
addEventListener("hashchange", () => focusOn(idInAddress(), { isAsked: true }));
addEventListener("popstate", () => focusOn(idInAddress()));
byId("tiles").addEventListener("click", (event) => {
  // A tile whose video is shown already changes no address.
  const link = event.target.closest("a.tile");
  if (link && link.hash === location.hash && !event.metaKey && !event.ctrlKey) bringIntoView();
});

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    setLanguage(button.dataset.language);
    translatePage();
    composer.translate();
    const job = jobs.all.get(jobs.focused);
    if (job) stage.show(job);
    else if (jobs.focused) stage.clear(t("not_here"));
    showAll();
    showBanner();
  });
}

translatePage();
document.documentElement.dataset.ready = "";
jobs.read();
if (idInAddress()) focusOn(idInAddress());
// On a telephone this would bring up the keyboard over the page.
else if (matchMedia("(pointer: fine)").matches) byId("prompt").focus({ preventScroll: true });
