// What a video would take, asked for while the prompt is written.

import { ApiError, NoAnswer, api } from "./api.js";
import { byId, say, setText } from "./dom.js";
import { showNotices } from "./settings.js";
import { bytes, duration, number, t } from "./words.js";

const DELAY_MS = 350;
const NUMBERS = ["num_frames", "fps", "num_inference_steps", "guidance_scale", "strength"];

export class Plan {
  /** `fields()` gives what would be sent, `kind()` what it starts from. */
  constructor(settings, rewriting, fields, kind) {
    this.settings = settings;
    this.rewriting = rewriting;
    this.fields = fields;
    this.kind = kind;
    this.told = null;
    this.said = "";
    this.timer = 0;
    this.asking = null;
  }

  askSoon(delayMs = DELAY_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), delayMs);
  }

  async ask() {
    this.asking?.abort();
    if (!this.settings.capabilities || !this.settings.prompt.value.trim()) {
      this.show(null);
      return;
    }
    const asking = new AbortController();
    this.asking = asking;
    try {
      const told = await api.plan(this.body(), asking.signal);
      if (this.asking === asking) this.show(told);
    } catch (error) {
      if (asking.signal.aborted) return;
      if (!(error instanceof ApiError || error instanceof NoAnswer)) throw error;
      this.show(null);
      if (error.status === 400) this.settings.place(error, { isQuiet: true });
    }
  }

  body() {
    const body = { ...this.fields() };
    for (const name of NUMBERS) {
      // What is no number is sent as it is, and refused with the reason.
      if (name in body && Number.isFinite(Number(body[name]))) body[name] = Number(body[name]);
    }
    delete body.seed; // does not matter, and JSON's numbers are not exact here
    delete body.original_prompt;
    return this.kind() === "text" ? body : { ...body, input_kind: this.kind() };
  }

  /** The language has changed. */
  translate() {
    this.show(this.told);
  }

  show(told) {
    this.told = told;
    const limit = this.settings.capabilities?.max_prompt_tokens;
    byId("tokens").classList.toggle("is-over", Boolean(told?.is_truncated));
    if (!told) {
      setText(byId("tokens"), limit ? t("tokens_none", { limit: number(limit) }) : "");
      setText(byId("plan"), "");
      showNotices([]);
      this.rewriting.describe({ isForeign: false });
      return;
    }
    const counts = { count: number(told.prompt_tokens), limit: number(told.max_prompt_tokens) };
    setText(byId("tokens"), t("tokens", counts));
    setText(byId("plan"), planWords(told).join(" · "));
    const notices = this.notices(told, counts);
    const said = notices.map((notice) => notice.key).join(" ");
    showNotices(notices);
    this.rewriting.describe({ isForeign: isForeign(told) });
    // A count that goes on while one writes is said once.
    if (said && said !== this.said) say(notices.map((notice) => notice.text).join(" "));
    this.said = said;
  }

  notices(told, counts) {
    const notices = [];
    const add = (key, values, action = null) => notices.push({ key, text: t(key, values), action });
    if (told.is_truncated) add("tokens_over", counts);
    if (isForeign(told)) add("language_notice", {}, this.rewriting.translateButton());
    if (told.fits === false) add("plan_does_not_fit");
    return notices;
  }
}

function isForeign(told) {
  return told.warnings.some((warning) => warning.code === "prompt_language");
}

function planWords(told) {
  const words = [];
  if (told.eta_seconds) words.push(t("plan_time", { time: duration(told.eta_seconds) }));
  if (told.memory_bytes) words.push(t("plan_memory", { memory: bytes(told.memory_bytes) }));
  if (told.num_workers === 0) words.push(t("plan_no_worker"));
  else if (!told.queue_position) words.push(t("plan_next"));
  else {
    const wait = { ahead: number(told.queue_position), time: duration(told.queue_eta_seconds) };
    words.push(t("plan_wait", wait));
  }
  return words;
}

