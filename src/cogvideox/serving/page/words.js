// The language of the page, its texts, numbers and times.

import { STRINGS } from "./strings.js";

const KEPT = "cogvideox.language";

export const LANGUAGES = Object.keys(STRINGS);

/** The language that was chosen, or else the first one of the browser's (its Accept-Language) that the page has. */
function firstLanguage() {
  const wanted = [kept(), ...navigator.languages].map((tag) => (tag ?? "").toLowerCase().split("-")[0]);
  return wanted.find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // storage is forbidden: the browser's language is taken
  }
}

let language = firstLanguage();

export function currentLanguage() {
  return language;
}

export function setLanguage(tag) {
  language = tag;
  try {
    localStorage.setItem(KEPT, tag);
  } catch {
    // it is forgotten with the page
  }
}

export function hasText(key) {
  return key in STRINGS[language];
}

/** A text in the page's language, {names} filled in. */
export function t(key, values = {}) {
  const text = STRINGS[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Put the language into everything that index.html marks with data-t. */
export function translatePage() {
  document.documentElement.lang = language;
  document.title = t("title");
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) node.ariaLabel = t(node.dataset.tLabel);
  for (const node of document.querySelectorAll("[data-t-placeholder]")) node.placeholder = t(node.dataset.tPlaceholder);
  for (const node of document.querySelectorAll("[data-language]")) {
    node.setAttribute("aria-pressed", String(node.dataset.language === language));
  }
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

function unit(value, name, digits = 0) {
  const unitDisplay = language === "ko" ? "long" : "short";
  const style = { style: "unit", unit: name, unitDisplay, maximumFractionDigits: digits };
  return new Intl.NumberFormat(language, style).format(value);
}

/** 8 s, 3 min, 1 h 20 min: no more exact than an estimate is. */
export function duration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return unit(whole, "second");
  const minutes = Math.round(whole / 60);
  if (minutes < 90) return unit(minutes, "minute");
  const hours = Math.floor(minutes / 60);
  if (hours >= 10 || minutes % 60 === 0) return unit(Math.round(minutes / 60), "hour");
  return `${unit(hours, "hour")} ${unit(minutes % 60, "minute")}`;
}

/** 2.1 s: an exact length. */
export function length(value) {
  return unit(value, "second", value < 10 ? 1 : 0);
}

export function seconds(value) {
  return number(value, value < 10 ? 1 : 0);
}

export function bytes(value) {
  const names = ["kilobyte", "megabyte", "gigabyte", "terabyte"];
  let power = 0;
  let rest = Math.max(value, 100) / 1000;
  while (rest >= 1000 && power < names.length - 1) {
    rest /= 1000;
    power += 1;
  }
  const maximumFractionDigits = rest < 10 ? 1 : 0;
  const style = { style: "unit", unit: names[power], unitDisplay: "short", maximumFractionDigits };
  return new Intl.NumberFormat(language, style).format(rest);
}

/** "5 minutes ago" for the last day, the date before that. `at` in seconds since 1970. */
export function when(at) {
  const ago = at - Date.now() / 1000;
  if (ago > -86400) {
    const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
    if (ago > -50) return relative.format(0, "second");
    const isRecent = ago > -3000;
    return relative.format(Math.round(ago / (isRecent ? 60 : 3600)), isRecent ? "minute" : "hour");
  }
  return date(at);
}

export function day(at) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium" }).format(at * 1000);
}

export function date(at) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(at * 1000);
}
