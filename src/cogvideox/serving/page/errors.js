// What went wrong, in the page's language, and what to do.

import { ApiError } from "./api.js";
import { hasText, t } from "./words.js";

/** A text for an error's code. Values that the text names may be given. */
export function textOfCode(code, values = {}) {
  return hasText(`error_${code}`) ? t(`error_${code}`, values) : t("error_unknown", { code });
}

export function textOfError(error, values = {}) {
  if (!(error instanceof ApiError)) return t("error_no_answer");
  const text = textOfCode(error.code, values);
  return error.status >= 500 && error.requestId ? `${text} ${t("request_id", { id: error.requestId })}` : text;
}
