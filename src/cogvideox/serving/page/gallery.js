// All videos, newest first.

import { contentUrl, previewUrl } from "./api.js";
import { brief, byId, make, setText, wantsStill } from "./dom.js";
import { isLive, standing } from "./jobs.js";
import { drawNoise } from "./noise.js";
import { stepWords } from "./stage.js";
import { length, number, t, when } from "./words.js";

/** In English, which models read; their buttons are in the page's language. */
const EXAMPLES = [
  "A penguin hops to the left in a snowy field",
  "A red ball rolls across the grass",
  "It starts to snow on a quiet street",
];
const HOVER_MS = 180;

export class Gallery {
  constructor({ onExample, onMore }) {
    this.tiles = new Map(); // id -> { item, parts, kind }
    this.focused = null;
    const examples = EXAMPLES.map((prompt, index) => {
      const key = `example_${index + 1}`;
      const picture = make("img", { src: `page/example_${index + 1}.svg`, alt: "" });
      const noise = make("canvas", { width: 96, height: 40, class: "noise", "aria-hidden": "true" });
      drawNoise(noise, prompt);
      const words = make("span", { data: { t: key } }, t(key));
      const properties = { type: "button", class: "example", onclick: () => onExample(prompt) };
      return make("li", {}, make("button", properties, make("span", { class: "frame" }, picture, noise), words));
    });
    byId("examples").replaceChildren(...examples);
    byId("more").addEventListener("click", onMore);
  }

  /** Bring the tiles into the order of the list and up to date. */
  show(jobs, { hasMore, isLoaded }) {
    const list = byId("tiles");
    const wanted = new Set(jobs.map((job) => job.id));
    for (const [id, tile] of this.tiles) {
      if (wanted.has(id)) continue;
      tile.item.remove();
      this.tiles.delete(id);
    }
    let next = list.firstElementChild;
    for (const job of jobs) {
      const { item } = this.tile(job);
      if (item === next) next = next.nextElementSibling;
      else list.insertBefore(item, next);
    }
    byId("empty").hidden = !isLoaded || jobs.length > 0;
    byId("more").hidden = !hasMore;
  }

  /** The server is back: load what could not be loaded. */
  reload() {
    for (const tile of this.tiles.values()) if (tile.item.querySelector(".unloaded")) tile.kind = "";
  }

  tile(job) {
    const known = this.tiles.get(job.id) ?? { item: make("li", {}), parts: {}, kind: "" };
    this.tiles.set(job.id, known);
    const kind = `${standing(job)} ${document.documentElement.lang}`;
    if (known.kind !== kind) this.build(known, job, kind);
    this.update(known, job);
    return known;
  }

  build(tile, job, kind) {
    const hadFocus = tile.item.contains(document.activeElement);
    tile.kind = kind;
    const state = standing(job);
    const frame = make("div", { class: "frame" }, this.picture(job, state));
    const [width, height] = job.size.split("x").map(Number);
    frame.style.setProperty("--ratio", `${width} / ${height}`);
    const parts = {
      frame,
      status: make("span", { class: `chip is-${state}` }),
      meta: make("span", { class: "quiet" }),
      bar: make("span", { class: "tile-bar", "aria-hidden": "true" }),
    };
    if (isLive(job)) frame.append(parts.bar);
    const link = make(
      "a",
      { href: `#${job.id}`, class: `tile is-${state}` },
      frame,
      make("span", { class: "tile-prompt", lang: "", dir: "auto" }, brief(job.prompt, 120)),
      make("span", { class: "tile-foot" }, state === "completed" ? null : parts.status, parts.meta),
    );
    parts.link = link;
    tile.parts = parts;
    tile.item.replaceChildren(link);
    if (state === "completed") this.playOnHover(link, frame, job);
    if (hadFocus) link.focus({ preventScroll: true });
  }

  picture(job, state) {
    if (state === "completed") {
      const image = make("img", { src: contentUrl(job.id, "thumbnail"), alt: "", loading: "lazy", decoding: "async" });
      image.addEventListener("error", () => image.replaceWith(make("div", { class: "unloaded" })), { once: true });
      return image;
    }
    return this.noise(job);
  }

  noise(job) {
    const [width, height] = job.size.split("x").map(Number);
    const canvas = make("canvas", { width, height, class: "noise", "aria-hidden": "true" });
    drawNoise(canvas, job.seed);
    return canvas;
  }

  async showPreview(parts, url) {
    parts.previewUrl = url;
    const image = make("img", { src: url, alt: "" });
    try {
      await image.decode();
    } catch {
      return; // there is a newer one
    }
    if (parts.previewUrl === url) parts.frame.firstElementChild.replaceWith(image);
  }

  playOnHover(link, frame, job) {
    let timer = 0;
    let video = null;
    const stop = () => {
      clearTimeout(timer);
      video?.remove();
      video = null;
    };
    const start = () => {
      if (wantsStill() || video) return;
      timer = setTimeout(() => {
        const how = { muted: true, loop: true, playsInline: true, tabIndex: -1, "aria-hidden": "true" };
        video = make("video", { src: contentUrl(job.id), ...how });
        frame.append(video);
        video.play().catch(() => {}); // it was left before it began
      }, HOVER_MS);
    };
    link.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && start());
    link.addEventListener("pointerleave", stop);
    link.addEventListener("click", stop);
  }

  update(tile, job) {
    const { parts } = tile;
    const state = standing(job);
    const isFocused = job.id === this.focused;
    if (isFocused) parts.link.setAttribute("aria-current", "true");
    else parts.link.removeAttribute("aria-current");
    const isMade = state === "in_progress";
    setText(parts.status, isMade ? t("percent", { percent: number(job.progress) }) : t(`status_${state}`));
    const ended = [when(job.created_at), ...(state === "completed" ? [length(job.num_frames / job.fps)] : [])];
    setText(parts.meta, isMade ? stepWords(job) : ended.join(" · "));
    const url = isMade ? previewUrl(job) : null;
    if (url && url !== parts.previewUrl) this.showPreview(parts, url);
    parts.bar.style.setProperty("--share", String((job.progress ?? 0) / 100));
  }
}
