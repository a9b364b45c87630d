// What a model makes, as GET /v1/models tells, in the form that the page asks for.

const DRAFT_SHARE = 0.4;
const FINE_SHARE = 2;
const MAX_CHOICES = 24;

export const MEDIA_TYPES = {
  image: ["image/png", "image/jpeg", "image/webp"],
  video: ["video/mp4", "video/quicktime", "video/webm"],
};

/** Lengths to choose from, in frames: the longest of each step of the model, at most 24, and the default. */
export function lengths(frames) {
  const remainder = Math.max(...frames.remainders);
  const first = Math.max(frames.min, frames.multiple + remainder);
  const all = [];
  for (let count = first; count <= frames.max; count += 1) {
    if (count % frames.multiple === remainder % frames.multiple) all.push(count);
  }
  const stride = Math.ceil(all.length / MAX_CHOICES);
  const some = all.filter((_, index) => (all.length - 1 - index) % stride === 0);
  return [...new Set([...some, frames.default])].sort((a, b) => a - b);
}

/** Values of the form that a preset stands for. */
export function presetSteps(capabilities, preset) {
  const { default: standard, min, max } = capabilities.steps;
  const share = { draft: DRAFT_SHARE, standard: 1, fine: FINE_SHARE }[preset];
  return Math.min(max, Math.max(min, Math.round(standard * share)));
}

export function defaults(capabilities) {
  return {
    size: capabilities.sizes[0],
    num_frames: String(capabilities.frames.default),
    fps: String(capabilities.fps.default),
    num_inference_steps: String(capabilities.steps.default),
    guidance_scale: String(capabilities.guidance_scale.default),
    sampler: "",
    seed: "",
    negative_prompt: "",
    strength: "0.8",
  };
}

/** The least and the most that a field may be; null for other fields. */
export function rangeOf(capabilities, name) {
  const { steps, guidance_scale, fps } = capabilities;
  const range = { num_inference_steps: steps, guidance_scale, fps, strength: { min: 0, max: 1 } }[name];
  return range ? [range.min, range.max] : null;
}

export function takes(capabilities, kind) {
  return capabilities.inputs.includes(kind);
}

export function limitBytes(capabilities, kind) {
  return capabilities.limits[`max_${kind}_bytes`];
}

/** What a file seems to be, by its type, or by its name where the system knows no type; null if neither helps. */
export function kindOfFile(file) {
  for (const [kind, types] of Object.entries(MEDIA_TYPES)) if (types.includes(file.type)) return kind;
  const ending = file.name.toLowerCase().split(".").at(-1);
  if (["png", "jpg", "jpeg", "webp"].includes(ending)) return "image";
  return ["mp4", "mov", "m4v", "webm"].includes(ending) ? "video" : null;
}
