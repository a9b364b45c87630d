// What the page knows of the server's videos. The server is the truth: this is read anew by polling, and by one stream
// of events for the video that is looked at (a browser opens only six connections to a server, over all its tabs).

import { ApiError, NoAnswer, api, follow } from "./api.js";

const PAGE_SIZE = 24;
const BUSY_MS = 1500;
const IDLE_MS = 10_000;
const HIDDEN_MS = 15_000;
const RETRY_MS = [1000, 2000, 4000, 8000, 15_000];
const GONE_MS = 3_600_000;

export function isLive(job) {
  return job.status === "queued" || job.status === "in_progress";
}

/** What its prompt was before it was written anew; null if it was not. */
export function originalOf(job) {
  return job.warnings?.find((warning) => warning.code === "prompt_rewritten")?.original ?? null;
}

/** One word for where a video stands: the four of the API, and canceled, canceling, expired. */
export function standing(job) {
  if (job.status === "failed" && job.error?.code === "canceled") return "canceled";
  if (isLive(job) && job.is_canceling) return "canceling";
  return job.status === "completed" && job.is_expired ? "expired" : job.status;
}

/**
 * Calls `onChange(job, before)` for what is new or has changed, `onGone(id)` for what is deleted, `onList()` after
 * each reading of the list, `onState("ok" | "offline" | "unready" | "key", seconds, error)` about the server.
 */
export class Jobs {
  constructor(calls) {
    this.calls = calls;
    this.all = new Map();
    this.gone = new Map(); // id -> time: an older answer may still have it
    this.canceling = new Set();
    this.hasMore = false;
    this.isLoaded = false;
    this.focused = null;
    this.numFailures = 0;
    this.timer = 0;
    this.reading = null;
    this.stream = null;
    this.others = "BroadcastChannel" in globalThis ? new BroadcastChannel("cogvideox.jobs") : null;
    if (this.others) this.others.onmessage = () => this.read();
    document.addEventListener("visibilitychange", () => this.wake());
    document.addEventListener("resume", () => this.wake()); // from a sleep that browsers put tabs into
    addEventListener("online", () => this.wake());
    addEventListener("pageshow", (event) => event.persisted && this.wake());
  }

  /** Newest first. */
  list() {
    return [...this.all.values()].sort((a, b) => b.created_at - a.created_at || (a.id < b.id ? 1 : -1));
  }

  wake() {
    this.openStream();
    if (document.hidden) return;
    this.read();
  }

  /** Read the newest videos now, and again later. */
  async read() {
    clearTimeout(this.timer);
    this.reading ??= this.readOnce().finally(() => (this.reading = null));
    const waitMs = await this.reading;
    clearTimeout(this.timer);
    // A hidden tab has no stream and reads seldom, for its title; it reads at once when it is looked at again.
    this.timer = setTimeout(() => this.read(), document.hidden ? Math.max(waitMs, HIDDEN_MS) : waitMs);
  }

  async readOnce() {
    try {
      const askedMs = Date.now();
      const page = await api.list(PAGE_SIZE);
      this.take(page, askedMs);
      if (!this.isLoaded) this.hasMore = page.has_more;
      this.isLoaded = true;
      await this.readOlder(page);
      this.numFailures = 0;
      this.openStream();
      this.calls.onState("ok", 0);
      this.calls.onList();
      return [...this.all.values()].some(isLive) ? BUSY_MS : IDLE_MS;
    } catch (error) {
      return this.failed(error);
    }
  }

  failed(error) {
    if (error.status === 401 || error.status === 403) {
      this.calls.onState("key", 0, error);
      return GONE_MS;
    }
    if (!(error instanceof ApiError || error instanceof NoAnswer)) throw error;
    const usualMs = RETRY_MS[Math.min(this.numFailures, RETRY_MS.length - 1)];
    const waitMs = error.retryAfterSeconds ? error.retryAfterSeconds * 1000 : usualMs;
    this.numFailures += 1;
    this.calls.onState(error instanceof ApiError ? "unready" : "offline", Math.round(waitMs / 1000));
    return waitMs;
  }

  /** Live videos that are not on the first page any more. */
  async readOlder(page) {
    const known = new Set(page.data.map((job) => job.id));
    for (const job of [...this.all.values()]) {
      if ((isLive(job) || job.id === this.focused) && !known.has(job.id)) await this.readJob(job.id);
    }
  }

  /** Read one video; returns it, or null if it is not there. */
  async readJob(id) {
    try {
      const job = await api.get(id);
      this.put(job);
      return job;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      this.drop(id);
      return null;
    }
  }

  async readMore() {
    const last = this.list().at(-1);
    const page = await api.list(PAGE_SIZE, last?.id);
    for (const job of page.data) this.put(job);
    this.hasMore = page.has_more;
    this.calls.onList();
  }

  take(page, askedMs) {
    const there = new Set(page.data.map((job) => job.id));
    const oldest = page.data.at(-1);
    for (const job of [...this.all.values()]) {
      const isOnPage = !page.has_more || (oldest && job.created_at > oldest.created_at);
      // A video that was sent while the list was on its way is not on it, but is not gone either.
      if (isOnPage && !there.has(job.id) && job.putMs < askedMs) this.drop(job.id);
    }
    for (const job of page.data) this.put(job);
  }

  /** Take a newer state of a video. */
  put(job) {
    const before = this.all.get(job.id);
    if (this.gone.has(job.id)) return;
    // Answers overtake one another: a video that has ended stays so, and no step is taken back within a try.
    if (before && !isLive(before) && isLive(job)) return;
    const isSameTry = before && (job.attempt ?? 0) === (before.attempt ?? 0) && job.status === before.status;
    if (isSameTry && job.progress < before.progress) return;
    if (!isLive(job)) this.canceling.delete(job.id);
    const isCanceling = isLive(job) && (this.canceling.has(job.id) || job.is_canceling);
    const whole = { ...job, is_canceling: isCanceling, putMs: before?.putMs ?? Date.now() };
    this.all.set(job.id, whole);
    if (before && JSON.stringify(before) === JSON.stringify(whole)) return;
    this.calls.onChange(whole, before ?? null);
    if (job.id === this.focused && (!before || isLive(before) !== isLive(job))) this.openStream();
  }

  drop(id) {
    if (!this.all.delete(id)) return;
    this.calls.onGone(id);
  }

  /** Look at one video: its events are followed. */
  focus(id) {
    if (this.focused === id) return;
    this.focused = id;
    this.openStream();
  }

  openStream() {
    const job = this.focused ? this.all.get(this.focused) : null;
    const isWanted = job && isLive(job) && !document.hidden;
    if (isWanted && this.stream?.id === job.id) return;
    this.stream?.end.abort();
    this.stream = null;
    if (!isWanted) return;
    const stream = { id: job.id, end: new AbortController() };
    this.stream = stream;
    const onSnapshot = (snapshot) => (snapshot.deleted ? this.drop(job.id) : this.put(snapshot));
    follow(job.id, onSnapshot, stream.end.signal).finally(() => {
      if (this.stream === stream) this.stream = null; // the next poll opens it again
    });
  }

  tellOthers() {
    this.others?.postMessage("changed");
  }

  added(job) {
    this.put(job);
    this.tellOthers();
    this.read();
  }

  async cancel(id) {
    this.canceling.add(id);
    this.mark(id);
    try {
      this.put(await api.cancel(id));
    } catch (error) {
      this.canceling.delete(id);
      this.mark(id);
      throw error;
    } finally {
      this.tellOthers();
      this.read();
    }
  }

  mark(id) {
    const job = this.all.get(id);
    if (job) this.put(job);
  }

  async remove(id) {
    try {
      await api.remove(id);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
    this.gone.set(id, Date.now());
    this.drop(id);
    this.tellOthers();
  }
}
