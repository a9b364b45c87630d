// What changed between two texts, word by word.

const MAX_WORDS = 400;

function wordsOf(text) {
  return text.trim().split(/\s+/).filter(Boolean);
}

function plain(word) {
  return word.toLowerCase().replace(/^\W+|\W+$/g, "") || word;
}

/**
 * The parts of two texts in order, `{ kind, text }` with the kind "same", "added" or "removed"; null if they have
 * little in common, as a text and its translation, or are too long to compare.
 */
export function wordDiff(before, after) {
  const [old, now] = [wordsOf(before), wordsOf(after)];
  if (!old.length || !now.length || Math.max(old.length, now.length) > MAX_WORDS) return null;
  const common = commonLengths(old.map(plain), now.map(plain));
  if (common[0][0] * 3 < old.length) return null;
  const parts = [];
  const add = (kind, word) => {
    const last = parts.at(-1);
    if (last?.kind === kind) last.text += ` ${word}`;
    else parts.push({ kind, text: word });
  };
  let [from, to] = [0, 0];
  while (from < old.length || to < now.length) {
    if (from < old.length && to < now.length && plain(old[from]) === plain(now[to])) {
      add("same", now[to]);
      from += 1;
      to += 1;
    } else if (to === now.length || (from < old.length && common[from + 1][to] >= common[from][to + 1])) {
      add("removed", old[from]);
      from += 1;
    } else {
      add("added", now[to]);
      to += 1;
    }
  }
  return parts;
}

/** Lengths of the longest common sequences of the rests of two lists of words. */
function commonLengths(old, now) {
  const lengths = Array.from({ length: old.length + 1 }, () => new Uint16Array(now.length + 1));
  for (let from = old.length - 1; from >= 0; from -= 1) {
    for (let to = now.length - 1; to >= 0; to -= 1) {
      const isSame = old[from] === now[to];
      lengths[from][to] = isSame
        ? lengths[from + 1][to + 1] + 1
        : Math.max(lengths[from + 1][to], lengths[from][to + 1]);
    }
  }
  return lengths;
}
