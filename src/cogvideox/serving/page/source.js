// The image or video that a video starts from: chosen, dropped or pasted, looked at before it is sent.

import { MEDIA_TYPES, kindOfFile, limitBytes, takes } from "./capabilities.js";
import { byId, make, setText } from "./dom.js";
import { bytes, t } from "./words.js";

const KINDS = ["image", "video"];
const NAMES = { image: "PNG, JPEG, WebP", video: "MP4, MOV, WebM" };

export class Source {
  /** `onChange()` is called for another source or none. */
  constructor(settings, onChange) {
    this.settings = settings;
    this.onChange = onChange;
    this.file = null;
    this.kind = "text";
    this.url = null;
    byId("file").addEventListener("change", (event) => this.offer(event.target.files[0] ?? null));
    byId("source-remove").addEventListener("click", () => {
      this.set(null);
      settings.prompt.focus();
    });
    settings.prompt.addEventListener("paste", (event) => {
      const file = event.clipboardData.files[0];
      if (!file || !kindOfFile(file)) return;
      event.preventDefault();
      this.offer(file);
    });
    this.listenToDrops();
  }

  /** Files may be dropped anywhere: one that misses the box would replace the page. */
  listenToDrops() {
    let depth = 0;
    const on = (name, work) =>
      addEventListener(name, (event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        work(event);
        document.body.classList.toggle("is-dropping", depth > 0);
      });
    on("dragenter", () => (depth += 1));
    on("dragleave", () => (depth = Math.max(0, depth - 1)));
    on("dragover", (event) => event.preventDefault());
    on("drop", (event) => {
      event.preventDefault();
      depth = 0;
      this.offer(event.dataTransfer.files[0] ?? null);
    });
  }

  kinds() {
    const { capabilities } = this.settings;
    return capabilities ? KINDS.filter((kind) => takes(capabilities, kind)) : [];
  }

  /** The model or the language has changed. */
  describe() {
    const { capabilities } = this.settings;
    if (!capabilities) return;
    const kinds = this.kinds();
    const limits = Object.fromEntries(KINDS.map((kind) => [kind, bytes(limitBytes(capabilities, kind))]));
    const which = kinds.length === 1 ? `_${kinds[0]}` : "";
    byId("file").accept = kinds.flatMap((kind) => MEDIA_TYPES[kind]).join(",");
    byId("file").disabled = !kinds.length;
    setText(byId("file-label"), t(`start_from${which}`));
    setText(byId("file-help"), kinds.length ? t(`file_help${which}`, limits) : t("no_input"));
    if (this.file && !kinds.includes(this.kind)) this.set(null);
    else this.show();
  }

  /** Take a file if it is one that the server takes, or say why not. */
  offer(file) {
    if (!file || !this.settings.capabilities) return;
    const wrong = this.whatIsWrong(file);
    if (!wrong) {
      this.set(file);
      return;
    }
    byId("advanced").open = true;
    byId("file").value = "";
    this.settings.showError("input_reference", wrong);
  }

  whatIsWrong(file) {
    const kinds = this.kinds();
    const kind = kindOfFile(file);
    if (!kinds.length) return t("no_input");
    if (!kinds.includes(kind)) return t("file_wrong_kind", { kinds: kinds.map((name) => NAMES[name]).join(", ") });
    if (!file.size) return t("file_empty");
    const limit = limitBytes(this.settings.capabilities, kind);
    return file.size > limit ? t("file_too_large", { size: bytes(file.size), limit: bytes(limit) }) : "";
  }

  set(file) {
    if (this.url) URL.revokeObjectURL(this.url);
    this.file = file;
    this.kind = file ? kindOfFile(file) : "text";
    this.url = file && URL.createObjectURL(file);
    if (!file) byId("file").value = "";
    this.settings.showError("input_reference", "");
    this.show();
    this.onChange();
  }

  show() {
    byId("source").hidden = !this.file;
    byId("strength-field").hidden = this.kind !== "video";
    byId("source-view").replaceChildren();
    if (!this.file) return;
    const video = { src: this.url, muted: true, playsInline: true, preload: "metadata", "aria-hidden": "true" };
    byId("source-view").append(this.kind === "image" ? make("img", { src: this.url, alt: "" }) : make("video", video));
    setText(byId("source-kind"), t(`source_${this.kind}`));
    setText(byId("source-name"), `${this.file.name} · ${bytes(this.file.size)}`);
  }
}
