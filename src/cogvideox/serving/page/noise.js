// The picture of a video that is not there yet: noise, another one for every seed. Coarse, as latents are.

const CELL_PX = 8;
const MAX_CELLS = 64;

function hashOf(text) {
  let hash = 2166136261;
  for (const character of String(text)) hash = Math.imul(hash ^ character.codePointAt(0), 16777619) >>> 0;
  return hash;
}

/** A stream of numbers from 0 to 1 (the "mulberry" mix of 32 bits). */
function stream(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function drawNoise(canvas, seed) {
  const { width, height } = canvas;
  const scale = Math.max(CELL_PX / 4, Math.max(width, height) / MAX_CELLS);
  canvas.width = Math.max(2, Math.round(width / scale));
  canvas.height = Math.max(2, Math.round(height / scale));
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const next = stream(hashOf(seed));
  for (let place = 0; place < image.data.length; place += 4) {
    const grey = (next() + next() + next()) / 3;
    for (let channel = 0; channel < 3; channel += 1) {
      image.data[place + channel] = 255 * (0.16 + 0.55 * grey + 0.22 * (next() - 0.5));
    }
    image.data[place + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
