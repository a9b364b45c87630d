// The prompt written anew by the server's language model, if it has one: shown with what has changed, open to changes,
// and taken back with one button. What was written first goes with the video.

import { ApiError, NoAnswer, api } from "./api.js";
import { byId, make, say, setText } from "./dom.js";
import { textOfError } from "./errors.js";
import { t } from "./words.js";
import { wordDiff } from "./word_diff.js";

const KEPT = "cogvideox.original";

export class Rewriting {
  /** `onRewritten(prompt)` puts a text into the prompt's box. */
  constructor(settings, onRewritten) {
    this.settings = settings;
    this.onRewritten = onRewritten;
    this.made = restored(); // { purpose, original } of the prompt in the box
    this.running = null; // { purpose, end }
    byId("improve").addEventListener("click", () => this.rewrite("enhance"));
    byId("rewrite-undo").addEventListener("click", () => this.undo());
  }

  /** Whether the server writes prompts anew for this purpose. */
  does(purpose) {
    return this.settings.capabilities?.prompt_rewriting?.includes(purpose) ?? false;
  }

  /** What was in the box first, if something else is in it now. */
  get original() {
    const { made } = this;
    const prompt = this.settings.prompt.value;
    return made && prompt.trim() && prompt.trim() !== made.original.trim() ? made.original : null;
  }

  /** The prompt, the language or what the server says of the prompt has changed. */
  describe({ isForeign = this.isForeign } = {}) {
    this.isForeign = isForeign;
    const hasPrompt = Boolean(this.settings.prompt.value.trim());
    const isRunning = this.running?.purpose === "enhance";
    byId("improve").hidden = !(this.does("enhance") && hasPrompt && !isForeign && (isRunning || !this.original));
    byId("improve").setAttribute("aria-disabled", String(Boolean(this.running)));
    setText(byId("improve"), t(isRunning ? "improving" : "improve"));
    const translate = document.querySelector("[data-rewrite=translate]");
    translate?.setAttribute("aria-disabled", String(Boolean(this.running)));
    if (translate) setText(translate, t(this.running?.purpose === "translate" ? "translating" : "translate"));
    this.show();
  }

  /** A button for the notice that the model does not read this language; null if the server cannot help. */
  translateButton() {
    if (!this.does("translate")) return null;
    const properties = { type: "button", class: "secondary", data: { rewrite: "translate" } };
    return make("button", { ...properties, onclick: () => this.rewrite("translate") }, t("translate"));
  }

  async rewrite(purpose) {
    const { prompt } = this.settings;
    const written = prompt.value;
    if (this.running || !written.trim()) return;
    const running = { purpose, end: new AbortController() };
    this.running = running;
    setText(byId("submit-error"), "");
    this.describe();
    try {
      const fields = { prompt: written, purpose, model: this.settings.model.id };
      const told = await api.rewrite(fields, running.end.signal);
      if (prompt.value !== written) return; // it was changed meanwhile: that counts
      this.made = { purpose, original: this.original ?? written };
      this.keep();
      this.onRewritten(told.prompt);
      say(t(`said_${purpose}`, { prompt: told.prompt }));
    } catch (error) {
      if (running.end.signal.aborted) return;
      if (!(error instanceof ApiError || error instanceof NoAnswer)) throw error;
      setText(byId("submit-error"), this.textOf(error));
    } finally {
      if (this.running === running) this.running = null;
      this.describe();
    }
  }

  textOf(error) {
    if (error instanceof ApiError && error.status === 400) return t("rewrite_useless");
    return error instanceof NoAnswer || error.status >= 500 ? t("rewrite_failed") : textOfError(error);
  }

  /** Nobody waits for it any more. */
  stop() {
    this.running?.end.abort();
    this.running = null;
  }

  undo() {
    const { original } = this.made;
    this.forget();
    this.onRewritten(original);
    this.settings.prompt.focus();
    say(t("said_undone"));
  }

  /** Another prompt is in the box, which came from `original` if that is given. */
  take(original = null) {
    this.made = original ? { purpose: "enhance", original } : null;
    this.keep();
    this.describe();
  }

  forget() {
    this.made = null;
    this.keep();
  }

  show() {
    const { original } = this;
    byId("rewritten").hidden = !original;
    if (!original) return;
    const parts = wordDiff(original, this.settings.prompt.value);
    setText(byId("rewritten-title"), t(parts ? "rewritten_changes" : "rewritten_from"));
    const drawn = parts ? parts.flatMap(({ kind, text }) => [changed(kind, text), " "]) : [original];
    byId("rewritten-text").replaceChildren(...drawn);
  }

  /** It stays through a reload of the tab, as the prompt does. */
  keep() {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(this.made));
    } catch {
      // it is forgotten at a reload
    }
  }
}

function changed(kind, text) {
  return kind === "same" ? text : make(kind === "added" ? "ins" : "del", {}, text);
}

function restored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  } catch {
    return null; // storage is forbidden
  }
}
