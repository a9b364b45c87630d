// The fields of the form: what can be chosen, what is chosen, and what is wrong with it.

import { defaults, lengths, presetSteps, rangeOf } from "./capabilities.js";
import { byId, make, setText } from "./dom.js";
import { textOfError } from "./errors.js";
import { number, seconds, t } from "./words.js";

const FIELDS = [
  "size",
  "num_frames",
  "fps",
  "num_inference_steps",
  "guidance_scale",
  "sampler",
  "seed",
  "negative_prompt",
  "strength",
];
const PRESETS = ["draft", "standard", "fine"];
const KEPT = "cogvideox.draft";
/** Names of request fields whose control has another name. */
const CONTROL_OF = { seconds: "num_frames", width: "size", height: "size", video: "input_reference" };

const times = (size) => size.replace("x", " × ");

/** The settings of a video under the names of the form. */
export function settingsOf(job) {
  return Object.fromEntries(FIELDS.map((name) => [name, job[name]]));
}

export class Settings {
  constructor(form) {
    this.form = form;
    this.prompt = byId("prompt");
    this.models = [];
  }

  get model() {
    return this.models.find((model) => model.id === byId("model").value) ?? this.models[0] ?? null;
  }

  get capabilities() {
    return this.model?.capabilities ?? null;
  }

  setModels(models) {
    this.models = models;
    byId("model").replaceChildren(...models.map((model) => new Option(model.id, model.id)));
    byId("model-field").hidden = models.length < 2;
    this.fillChoices();
    this.restore();
    this.describe();
  }

  /** Put what the model can do into the form; what was chosen stays if the model has it. */
  fillChoices() {
    const { capabilities } = this;
    if (!capabilities) return;
    const chosen = Object.entries(this.values()).filter(([, value]) => value);
    const { samplers, sizes } = capabilities;
    const native = sizes[0];
    const named = (size) => (size === native ? t("size_native", { size: times(size) }) : times(size));
    byId("size").replaceChildren(...sizes.map((size) => new Option(named(size), size)));
    const own = new Option(`${t("sampler_own")} (${samplers.default})`, "");
    byId("sampler").replaceChildren(own, ...samplers.known.map((name) => new Option(name, name)));
    this.fillLengths();
    this.set({ ...defaults(capabilities), ...Object.fromEntries(chosen) });
  }

  /** Lengths in seconds depend on the rate. */
  fillLengths() {
    const { frames, fps: rates } = this.capabilities;
    const fps = Number(byId("fps").value) || rates.default;
    const chosen = byId("num_frames").value;
    const named = (count) => t("length_of", { seconds: seconds(count / fps), frames: number(count) });
    byId("num_frames").replaceChildren(...lengths(frames).map((count) => new Option(named(count), count)));
    this.setOne("num_frames", chosen || String(frames.default));
  }

  values() {
    return Object.fromEntries(FIELDS.map((name) => [name, byId(name).value.trim()]));
  }

  /** What is sent: only what was chosen. The rest the server decides, for a source video by that. */
  chosen() {
    const own = this.capabilities ? defaults(this.capabilities) : {};
    const values = Object.entries(this.values()).filter(([name, value]) => value && value !== own[name]);
    return Object.fromEntries(values);
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) this.setOne(name, value);
    this.markPreset();
  }

  setOne(name, value) {
    const control = byId(name);
    if (control.tagName === "SELECT" && ![...control.options].some((option) => option.value === String(value))) {
      if (value === "" || name === "sampler") return; // the server's own is taken
      control.append(new Option(times(String(value)), value)); // of a video that was made elsewhere
    }
    control.value = value;
  }

  markPreset() {
    if (!this.capabilities) return;
    const steps = Number(byId("num_inference_steps").value);
    const preset = PRESETS.find((name) => presetSteps(this.capabilities, name) === steps) ?? "own";
    this.form.elements.preset.value = preset;
  }

  /** A control has another value: what hangs on it follows. */
  changed(control) {
    if (control.name === "preset" && PRESETS.includes(control.value)) {
      byId("num_inference_steps").value = presetSteps(this.capabilities, control.value);
      this.showError("num_inference_steps", "");
    }
    if (control.id === "num_inference_steps") this.markPreset();
    if (control.id === "model") this.fillChoices();
    if (control.id === "fps") this.fillLengths();
    this.showError(control.name || control.id, "");
    setText(byId("submit-error"), "");
    this.describe();
    this.keep();
  }

  reset() {
    this.set(defaults(this.capabilities));
    this.fillLengths();
    this.clearErrors();
    this.describe();
    this.keep();
  }

  /** Take the prompt and all settings of a video. */
  take(job) {
    this.clearErrors();
    this.prompt.value = job.prompt ?? "";
    if (this.models.some((model) => model.id === job.model)) byId("model").value = job.model;
    this.fillChoices();
    const known = Object.entries(settingsOf(job)).filter(([, value]) => value !== null && value !== undefined);
    const found = Object.fromEntries(known.map(([name, value]) => [name, String(value)]));
    if (found.sampler === this.capabilities.samplers.default) found.sampler = "";
    this.set({ ...defaults(this.capabilities), ...found });
    this.fillLengths();
    this.describe();
    this.keep();
  }

  /** What is folded away and not the model's own: say it beside the fold. */
  describe() {
    const chosen = this.capabilities ? this.chosen() : {};
    const parts = [];
    if (chosen.size) parts.push(times(chosen.size));
    if (chosen.num_frames) parts.push(byId("num_frames").selectedOptions[0]?.text);
    if (chosen.num_inference_steps) parts.push(`${t("steps")} ${chosen.num_inference_steps}`);
    if (chosen.guidance_scale) parts.push(`${t("guidance")} ${chosen.guidance_scale}`);
    if (chosen.sampler) parts.push(chosen.sampler);
    if (chosen.seed) parts.push(`${t("seed")} ${chosen.seed}`);
    if (chosen.negative_prompt) parts.push(t("negative_prompt"));
    setText(byId("advanced-brief"), parts.join(" · "));
  }

  /** Show what is wrong at a field, or that nothing is. Returns whether there is such a field. */
  showError(name, text) {
    const control = CONTROL_OF[name] ?? name;
    const place = this.form.querySelector(`[data-error-for="${CSS.escape(control)}"]`);
    if (!place) return false;
    setText(place, text);
    const field = byId(control === "input_reference" ? "file" : control);
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    return true;
  }

  clearErrors() {
    for (const place of this.form.querySelectorAll("[data-error-for]")) this.showError(place.dataset.errorFor, "");
    setText(byId("submit-error"), "");
  }

  /** Show a refusal where it belongs: at its field, if it names one. */
  place(error, { isQuiet = false } = {}) {
    const text = this.textOf(error);
    if (!(error.param && this.showError(error.param, text))) {
      if (!isQuiet) setText(byId("submit-error"), text);
      return;
    }
    if (!isQuiet) this.goTo(CONTROL_OF[error.param] ?? error.param);
  }

  goTo(name) {
    if (name !== "prompt") byId("advanced").open = true;
    byId(name === "input_reference" ? "file" : name).focus();
  }

  textOf(error) {
    const name = CONTROL_OF[error.param] ?? error.param;
    const { capabilities } = this;
    if (error.code === "invalid_param" && name === "seed") return t("error_invalid_seed");
    const range = error.code === "invalid_param" && capabilities ? rangeOf(capabilities, name) : null;
    if (range) return t("error_range", { min: number(range[0], 2), max: number(range[1], 2) });
    return textOfError(error, { limit: number(capabilities?.max_prompt_length ?? 4000) });
  }

  /** What was written stays through a reload of the tab. */
  keep() {
    const draft = { prompt: this.prompt.value, model: byId("model").value, ...this.values() };
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(draft));
    } catch {
      // it is forgotten at a reload
    }
  }

  restore() {
    let draft = null;
    try {
      draft = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    } catch {
      // nothing is kept
    }
    if (!draft) return;
    const { prompt, model, ...values } = draft;
    if (!this.prompt.value) this.prompt.value = prompt ?? "";
    if (model !== byId("model").value && this.models.some((known) => known.id === model)) {
      byId("model").value = model;
      this.fillChoices();
    }
    this.set(values);
    this.fillLengths();
  }
}

/** Draw the notices below the prompt, `{ key, text, action }`, the action a button or null. */
export function showNotices(notices) {
  const shown = [...byId("notices").children];
  const isSame = shown.map((node) => node.dataset.key).join(" ") === notices.map((notice) => notice.key).join(" ");
  if (isSame && document.documentElement.lang === byId("notices").lang) {
    // What has the keyboard stays where it is.
    notices.forEach((notice, index) => setText(shown[index].firstElementChild, notice.text));
    return;
  }
  byId("notices").lang = document.documentElement.lang;
  const drawn = notices.map(({ key, text, action }) =>
    make("div", { class: "notice", data: { key } }, make("p", {}, text), action),
  );
  byId("notices").replaceChildren(...drawn);
}
