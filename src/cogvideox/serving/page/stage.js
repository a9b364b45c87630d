// One video, large: how far it is, what became of it, and what can be done with it.

import { ApiError, NoAnswer, api, contentUrl, previewUrl } from "./api.js";
import { brief, byId, make, say, setText, wantsStill } from "./dom.js";
import { textOfCode } from "./errors.js";
import { isLive, originalOf, standing } from "./jobs.js";
import { drawNoise } from "./noise.js";
import { date, day, duration, number, seconds, t, when } from "./words.js";

const MAX_TICKS = 60;
const SAID = ["in_progress", "completed", "failed", "canceled"];
const WIDE_DETAILS = ["avoid", "original"];
/** What the server noticed about a video, that is worth a line; the rest is in the form already. */
const TOLD_WARNINGS = ["prompt_language", "prompt_truncated"];
const KNOWN_STAGES = ["text", "denoise", "decode"];
/** What failed so ends the same way with the same settings, so that is not the first thing offered. */
const HOPELESS = ["out_of_memory", "exceeds_device_memory", "media_decode_failed", "unsupported_media_type"];

export class Stage {
  /** `calls`: cancel(job), remove(job), reuse(job), retry(job), useSeed(seed), close(). */
  constructor(calls) {
    this.calls = calls;
    this.node = byId("stage");
    this.job = null;
    this.builtFor = "";
    this.parts = {};
    this.previewUrl = null; // of the picture that is shown
    this.loadingUrl = null;
  }

  show(job) {
    const isOther = this.job?.id !== job.id;
    if (isOther) this.forgetPreview();
    this.job = job;
    const kind = `${job.id} ${standing(job)} ${job.attempt > 1} ${document.documentElement.lang}`;
    if (kind !== this.builtFor) this.build(kind);
    this.update();
  }

  /** The server is back: load what could not be loaded. */
  reload() {
    if (!this.job || !this.node.querySelector("video")?.error) return;
    this.builtFor = "";
    this.show(this.job);
  }

  /** Nothing is looked at, or only a text is shown. */
  clear(text = "") {
    this.forgetPreview();
    this.job = null;
    this.builtFor = "";
    this.node.hidden = !text;
    document.body.classList.remove("has-stage");
    const title = make("h2", { id: "stage-title", class: "stage-missing" }, text);
    this.node.replaceChildren(...(text ? [title, this.button("close", () => this.calls.close())] : []));
  }

  forgetPreview() {
    this.previewUrl = null;
    this.loadingUrl = null;
  }

  build(kind) {
    const hadFocus = this.node.contains(document.activeElement) && document.activeElement !== this.node;
    const isSameJob = this.builtFor.startsWith(`${this.job.id} `);
    this.builtFor = kind;
    const { job } = this;
    const state = standing(job);
    this.parts = {};
    this.node.hidden = false;
    this.node.dataset.standing = state;
    document.body.classList.add("has-stage");
    this.node.replaceChildren(
      make("div", { class: "stage-media" }, this.media()),
      make(
        "div",
        { class: "stage-body" },
        this.standing(state),
        make("h2", { id: "stage-title", lang: "", dir: "auto" }, job.prompt ?? ""),
        isLive(job) && this.progress(),
        state === "failed" && this.failure(),
        state === "canceled" && make("p", { class: "quiet" }, textOfCode("canceled")),
        state === "expired" && make("p", { class: "quiet" }, textOfCode("video_expired")),
        ...this.warnings(),
        this.actions(state),
        this.details(),
      ),
      this.closing(),
    );
    // A button that was pressed is gone with the change: the keyboard goes on from here.
    if (hadFocus && isSameJob) this.node.focus({ preventScroll: true });
  }

  standing(state) {
    this.parts.where = make("span", { class: "quiet" });
    return make("p", { class: `standing is-${state}` }, make("span", {}, t(`status_${state}`)), this.parts.where);
  }

  closing() {
    const properties = { type: "button", class: "plain stage-close", "aria-label": t("close") };
    return make("button", { ...properties, onclick: () => this.calls.close() }, "×");
  }

  media() {
    const { job } = this;
    const [width, height] = job.size.split("x").map(Number);
    const state = standing(job);
    let view;
    if (state === "completed") view = this.player(width, height);
    else if (this.previewUrl && state !== "expired") view = this.previewImage(this.previewUrl);
    else view = this.noise(width, height);
    const frame = make("div", { class: "frame" }, view);
    frame.style.setProperty("--ratio", `${width} / ${height}`);
    this.parts.frame = frame;
    return frame;
  }

  noise(width, height) {
    const name = isLive(this.job) ? t("waiting_picture", { prompt: brief(this.job.prompt) }) : "";
    const named = name ? { role: "img", "aria-label": name } : { "aria-hidden": "true" };
    const canvas = make("canvas", { width, height, class: "noise", ...named });
    drawNoise(canvas, this.job.seed);
    return canvas;
  }

  previewImage(url) {
    const name = t(isLive(this.job) ? "preview_of" : "still_of", { prompt: brief(this.job.prompt) });
    return make("img", { src: url, alt: name, class: "preview" });
  }

  player(width, height) {
    const { job } = this;
    const how = { controls: true, loop: true, muted: true, playsInline: true, preload: "auto" };
    const name = t("video_of", { prompt: brief(job.prompt) });
    const video = make("video", { width, height, ...how, "aria-label": name });
    video.poster = this.previewUrl ?? contentUrl(job.id, "thumbnail");
    video.src = contentUrl(job.id);
    video.addEventListener("error", () => this.tellUnplayable(job, video));
    // Clips last seconds: they play by themselves, without sound, unless the system asks for stillness.
    if (!wantsStill()) video.play().catch(() => {});
    return video;
  }

  /** A file may be gone, by its time or by hand; else the browser cannot play what is there. */
  async tellUnplayable(job, video) {
    let text = t("not_playable");
    try {
      await api.hasContent(job.id);
    } catch (error) {
      if (error instanceof NoAnswer) return; // the banner says so, and it is loaded again when the server is back
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 410) text = textOfCode("video_expired");
      else if (error.status === 404) text = textOfCode("not_found");
    }
    if (!video.isConnected || this.parts.unplayable) return;
    this.parts.unplayable = make("p", { class: "wrong", role: "alert" }, text);
    this.parts.frame.after(this.parts.unplayable);
  }

  warnings() {
    const codes = (this.job.warnings ?? []).map((warning) => warning.code);
    const told = TOLD_WARNINGS.filter((code) => codes.includes(code));
    return told.map((code) => make("p", { class: "quiet" }, t(`warning_${code}`)));
  }

  progress() {
    const range = { "aria-valuemin": 0, "aria-valuemax": 100 };
    const name = t("progress_of", { prompt: brief(this.job.prompt) });
    const bar = make("div", { class: "strip", role: "progressbar", ...range, "aria-label": name });
    const [step, eta] = [make("span"), make("span")];
    Object.assign(this.parts, { bar, step, eta });
    const { attempt } = this.job;
    const again = attempt > 1 && make("p", { class: "quiet" }, t("again_after", { attempt }));
    return make("div", { class: "progress" }, bar, make("p", { class: "progress-words" }, step, eta), again);
  }

  failure() {
    const { error } = this.job;
    return make("p", { class: "failure" }, textOfCode(error.code));
  }

  button(key, onclick, kind = "secondary", text = t(key)) {
    return make("button", { type: "button", class: kind, data: { action: key }, onclick }, text);
  }

  actions(state) {
    const { job, calls } = this;
    const row = make("div", { class: "actions" });
    if (state === "queued" || state === "in_progress") row.append(this.button("cancel", () => calls.cancel(job)));
    if (state === "completed") {
      const link = { class: "primary", href: contentUrl(job.id), download: "", data: { action: "download" } };
      row.append(make("a", link, t("download")));
      if (job.variants?.includes("gif")) {
        const gif = { class: "secondary", href: contentUrl(job.id, "gif"), download: "", data: { action: "gif" } };
        row.append(make("a", gif, "GIF"));
      }
    }
    const isHopeless = HOPELESS.includes(job.error?.code);
    if (state === "failed" || state === "canceled" || state === "expired") {
      row.append(this.button("retry", () => calls.retry(job), isHopeless ? "secondary" : "primary"));
    }
    row.append(this.button("reuse", () => calls.reuse(job), isHopeless ? "primary" : "secondary"));
    if (!isLive(job)) row.append(this.button("delete", () => calls.remove(job), "plain"));
    return row;
  }

  details() {
    const { job } = this;
    const rows = [];
    const add = (key, value) => {
      if (value === null || value === undefined || value === "") return;
      const row = [make("dt", {}, t(`detail_${key}`)), make("dd", {}, value)];
      rows.push(make("div", { class: WIDE_DETAILS.includes(key) && "is-wide" }, ...row));
    };
    add("size", job.size.replace("x", " × "));
    add("length", t("length_of", { seconds: seconds(job.num_frames / job.fps), frames: number(job.num_frames) }));
    add("steps", job.num_inference_steps);
    add("guidance", number(job.guidance_scale, 2));
    add("sampler", job.sampler);
    add("model", job.model);
    add("seed", this.seed());
    if (job.input_kind !== "text") add("start", t(`detail_start_${job.input_kind}`));
    if (job.status === "completed") add("took", duration(job.completed_at - job.started_at));
    const made = { dateTime: new Date(job.created_at * 1000).toISOString(), title: date(job.created_at) };
    add("made", make("time", made, when(job.created_at)));
    if (job.status === "completed" && !job.is_expired) add("expires", day(job.expires_at));
    add("avoid", job.negative_prompt);
    add("original", originalOf(job));
    return make("dl", { class: "details" }, ...rows);
  }

  seed() {
    const { seed } = this.job;
    const properties = { type: "button", class: "plain seed", "aria-label": t("use_seed", { seed }) };
    return make("button", { ...properties, onclick: () => this.calls.useSeed(seed) }, seed);
  }

  update() {
    const { job, parts } = this;
    if (!isLive(job)) return;
    setText(parts.where, where(job));
    const share = job.status === "queued" ? 0 : job.progress;
    const words = stepWords(job);
    // The ticks are steps; the frames, which are drawn after the last one, have none.
    const done = stepsOf(job) && job.status === "in_progress" ? job.step / stepsOf(job) : share / 100;
    parts.bar.style.setProperty("--share", String(done));
    parts.bar.style.setProperty("--steps", String(Math.min(stepsOf(job), MAX_TICKS)));
    parts.bar.setAttribute("aria-valuenow", String(Math.round(share)));
    const percent = t("percent", { percent: Math.round(share) });
    parts.bar.setAttribute("aria-valuetext", words ? `${percent}, ${words}` : percent);
    setText(parts.step, words);
    setText(parts.eta, etaWords(job));
    this.refreshPreview();
  }

  /** Show the newest preview when it is there whole; until then the one before stays. */
  async refreshPreview() {
    const { job } = this;
    const url = job.status === "in_progress" ? previewUrl(job) : null;
    if (!url || url === this.previewUrl || this.loadingUrl) return;
    this.loadingUrl = url;
    const image = this.previewImage(url);
    try {
      await image.decode();
    } catch {
      return; // it was replaced by a newer one on the server
    } finally {
      if (this.loadingUrl === url) this.loadingUrl = null;
    }
    if (this.job?.id !== job.id || !isLive(this.job)) return;
    this.previewUrl = url;
    this.parts.frame.replaceChildren(image);
    this.refreshPreview();
  }
}

export function stepsOf(job) {
  return job.num_steps || job.num_inference_steps;
}

/** Where it waits, or in which part of the work it is. */
function where(job) {
  if (job.is_canceling) return "";
  if (job.status === "queued") {
    return job.queue_position ? t("position", { ahead: number(job.queue_position) }) : t("position_next");
  }
  return KNOWN_STAGES.includes(job.stage) ? t(`stage_${job.stage}`) : t("stage_begin");
}

export function stepWords(job) {
  if (job.status !== "in_progress" || !stepsOf(job)) return "";
  return t("step", { step: number(job.step), steps: number(stepsOf(job)) });
}

function etaWords(job) {
  if (job.is_canceling) return "";
  const known = job.eta_seconds !== null && job.eta_seconds !== undefined;
  if (job.status === "queued") return known ? t("done_in", { time: duration(job.eta_seconds) }) : "";
  return known ? t("eta", { time: duration(job.eta_seconds) }) : t("eta_unknown");
}

/** Say what matters about a change, not every step. */
export function announce(job, before) {
  if (!before) return;
  const prompt = brief(job.prompt);
  const state = standing(job);
  if (state !== standing(before)) {
    if (!SAID.includes(state)) return;
    const why = state === "failed" ? textOfCode(job.error.code) : "";
    say(`${t(`said_${state}`, { prompt })} ${why}`.trim());
    return;
  }
  const quarter = Math.floor((job.progress ?? 0) / 25);
  if (job.status === "in_progress" && quarter > Math.floor((before.progress ?? 0) / 25) && quarter < 4) {
    say(t("said_percent", { prompt, percent: quarter * 25 }));
  }
}
