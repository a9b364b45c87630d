// The prompt and its button: what is written is sent once, however often the network fails.

import { ApiError, NoAnswer, api, newKey } from "./api.js";
import { takes } from "./capabilities.js";
import { byId, say, setText } from "./dom.js";
import { textOfCode, textOfError } from "./errors.js";
import { originalOf } from "./jobs.js";
import { Plan } from "./plan.js";
import { Rewriting } from "./rewriting.js";
import { Settings } from "./settings.js";
import { Source } from "./source.js";
import { t } from "./words.js";

const SEND_TRIES = 3;
const SEND_WAIT_MS = 1500;
const PENDING = "cogvideox.pending";
const MAX_DICE = 2 ** 31;
/** The same thing sent again so soon is one click that was made twice. */
const TWICE_MS = 1000;

export class Composer {
  /** `onSent(job)` is called with what the server has accepted, `onNoKey()` when it asks for a key. */
  constructor(onSent, onNoKey) {
    this.onSent = onSent;
    this.onNoKey = onNoKey;
    this.last = { digest: "", atMs: 0 };
    this.pending = restored(); // { digest, key } of what was sent and not answered
    this.isSending = false;
    this.form = byId("composer");
    this.prompt = byId("prompt");
    this.settings = new Settings(this.form);
    this.source = new Source(this.settings, () => this.plan.askSoon(0));
    this.rewriting = new Rewriting(this.settings, (prompt) => {
      this.prompt.value = prompt;
      this.changed(this.prompt);
    });
    this.plan = new Plan(this.settings, this.rewriting, () => this.fields(), () => this.source.kind);
    this.listen();
    this.plan.show(null);
  }

  listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.prompt.addEventListener("keydown", (event) => {
      // While Hangul, kana or hanzi are being composed, Enter ends the syllable and sends nothing.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      if (!event.repeat) this.send();
    });
    this.form.addEventListener("input", (event) => event.target.id !== "file" && this.changed(event.target));
    byId("dice").addEventListener("click", () => this.setSeed(String(Math.floor(Math.random() * MAX_DICE))));
    byId("reset").addEventListener("click", () => {
      this.settings.reset();
      this.source.set(null);
    });
  }

  changed(control) {
    this.settings.changed(control);
    if (control.id === "model") this.source.describe();
    if (!this.prompt.value.trim()) this.rewriting.take();
    else this.rewriting.describe();
    this.plan.askSoon();
  }

  setModels(models) {
    this.settings.setModels(models);
    this.source.describe();
    this.rewriting.describe();
    this.plan.askSoon(0);
  }

  setSeed(seed) {
    byId("seed").value = seed;
    this.changed(byId("seed"));
  }

  /** Put a prompt into the box. */
  use(prompt) {
    this.rewriting.take();
    this.prompt.value = prompt;
    this.changed(this.prompt);
    this.prompt.focus();
  }

  /** Put the prompt and the settings of a video into the form. */
  reuse(job) {
    const isWhole = job.input_kind === "text";
    this.settings.take(job);
    this.rewriting.take(originalOf(job));
    this.source.set(null);
    this.plan.askSoon(0);
    byId("advanced").open = true;
    this.prompt.focus();
    scrollTo({ top: 0 });
    if (!isWhole) this.settings.showError("input_reference", t("reused_without_file"));
    say(t(isWhole ? "reused" : "reused_without_file"));
  }

  /** The language has changed. */
  translate() {
    this.settings.clearErrors();
    this.settings.fillChoices();
    this.settings.describe();
    this.source.describe();
    this.plan.translate();
    this.setSending(this.isSending);
  }

  fields() {
    const { strength, ...fields } = this.settings.chosen();
    const always = { prompt: this.prompt.value, model: this.settings.model?.id };
    if (!always.model) delete always.model;
    if (this.rewriting.original) always.original_prompt = this.rewriting.original;
    return this.source.kind === "video" && strength ? { ...always, ...fields, strength } : { ...always, ...fields };
  }

  async send() {
    if (this.isSending) return;
    this.settings.clearErrors();
    if (!this.prompt.value.trim()) {
      this.settings.showError("prompt", textOfCode("missing_prompt"));
      this.prompt.focus();
      return;
    }
    const { capabilities } = this.settings;
    if (capabilities && !takes(capabilities, "text") && !this.source.file) {
      this.settings.showError("input_reference", t("needs_image"));
      this.settings.goTo("input_reference");
      return;
    }
    this.rewriting.stop();
    const fields = this.fields();
    const { file } = this.source;
    const digest = JSON.stringify([fields, file && [file.name, file.size, file.lastModified]]);
    await this.deliver((key) => api.create(fields, file, key), digest);
  }

  /**
   * Send a request until it is answered. If it never is, the next one for the same thing has the same key: the server
   * makes one video of both.
   */
  async deliver(request, digest) {
    const isTwice = digest === this.last.digest && Date.now() - this.last.atMs < TWICE_MS;
    if (this.isSending || isTwice) return;
    if (this.pending?.digest !== digest) this.setPending({ digest, key: newKey() });
    this.setSending(true);
    try {
      const job = await answered(() => request(this.pending.key));
      this.setPending(null);
      this.last = { digest, atMs: Date.now() };
      this.onSent(job);
    } catch (error) {
      if (!(error instanceof ApiError || error instanceof NoAnswer)) throw error;
      if (error instanceof ApiError && !error.isPassing) this.setPending(null);
      if (error.status === 401) this.onNoKey();
      else if (error instanceof ApiError) this.settings.place(error);
      else setText(byId("submit-error"), textOfError(error));
    } finally {
      this.setSending(false);
    }
  }

  /** It outlives a reload: who sends the same again then gets the same video. */
  setPending(pending) {
    this.pending = pending;
    try {
      sessionStorage.setItem(PENDING, JSON.stringify(pending));
    } catch {
      // it is forgotten at a reload
    }
  }

  setSending(isSending) {
    this.isSending = isSending;
    byId("generate").setAttribute("aria-disabled", String(isSending));
    setText(byId("generate-text"), t(isSending ? "sending" : "generate"));
  }
}

function restored() {
  try {
    return JSON.parse(sessionStorage.getItem(PENDING) ?? "null");
  } catch {
    return null; // storage is forbidden
  }
}

async function answered(request) {
  for (let number = 1; ; number += 1) {
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof NoAnswer) || number === SEND_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, SEND_WAIT_MS * number));
    }
  }
}
