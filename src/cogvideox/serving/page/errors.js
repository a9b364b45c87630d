// What went wrong, in the page's language, and what to do.

import { ApiError } from "./api.js";
import { duration, hasText, t } from "./words.js";

/** Of the server's state, which its log needs no request for. */
const PASSING = ["storage_full", "not_ready", "unsupported"];

/** A text for an error's code. Values that the text names may be given. */
export function textOfCode(code, values = {}) {
  return hasText(`error_${code}`) ? t(`error_${code}`, values) : t("error_unknown", { code });
}

export function textOfError(error, values = {}) {
  if (!(error instanceof ApiError)) return t("error_no_answer");
  const parts = [textOfCode(error.code, values)];
  if (error.retryAfterSeconds) parts.push(t("retry_in", { time: duration(error.retryAfterSeconds) }));
  const isOurs = error.status >= 500 && !PASSING.includes(error.code);
  if (isOurs && error.requestId) parts.push(t("request_id", { id: error.requestId }));
  return parts.join(" ");
}
