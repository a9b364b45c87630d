// Making elements. Texts go in as text, never as markup: prompts are other people's words.

export function byId(id) {
  return document.getElementById(id);
}

/** An element with properties and children; null and false children are left out. */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-") || name === "role") node.setAttribute(name, value);
    else if (name === "data") Object.assign(node.dataset, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== false));
  return node;
}

/** Set a text only if it is another one: screen readers say what changes. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The first words of a prompt, for names of things. */
export function brief(prompt, length = 60) {
  const characters = Array.from(prompt ?? "");
  return characters.length > length ? `${characters.slice(0, length - 1).join("")}…` : characters.join("");
}

let lastSaid = 0;

/** Say something to those who do not see the page. */
export function say(text) {
  const node = byId("live");
  lastSaid += 1;
  const turn = lastSaid;
  node.textContent = "";
  setTimeout(() => {
    if (turn === lastSaid) node.textContent = text;
  }, 50);
}

export function wantsStill() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
