"""What language models say around the text that they were asked for, taken away; and what is no such text."""

import re

_NO_IMAGE = r"(image|picture|photo|frame|video|clip|file|attachment|caption|input)s?"
_REFUSAL = re.compile(
    r"(i(\W?m| am) (very |really |truly |so )?sorry\b|sorry,|sorry (but|i)\b|my apologies\b|i apologi[sz]e\b|apologies,"
    r"|((unfortunately|regrettably),? )?(i|we)( ?\W? ?m| am|\W?re| are)? "
    r"(just |only |currently |really |simply |therefore )?"
    r"(can\W?t|can ?not|could ?n\W?t|could not|not able to|unable|won\W?t|will not|must decline|have to decline"
    r"|do(n\W?t| not) (have|see|feel comfortable|actually)|did(n\W?t| not) (receive|get)"
    r"|not (comfortable|permitted|allowed)|see no|an ai\b|a (large )?language model)"
    rf"|unable to (\w+ ){{0,2}}(see|view|access|describe|assist|help|process|provide|comply|summari[sz]e)"
    r"|as an? (ai|(large )?language model|artificial intelligence|(text|language)[- ]based)\b"
    rf"|(it (seems|looks like|appears)( that| like)?,? )?(there (is|are|was|were)|you (have|did))(n\W?t| not| no) "
    rf"(\w+ ){{0,4}}{_NO_IMAGE}( (was|were|is|are))? (provided|attached|uploaded|included|shared|given|to describe)"
    rf"|(it (seems|looks like|appears)( that| like)?,? )?no {_NO_IMAGE} (was|were|is|are|has been|have been) "
    r"(provided|attached|uploaded|included|shared|given|visible)"
    r"|(it (seems|looks like|appears)( that| like)?,? )?"
    rf"you ((have|did) ?n(o|\W)?t|forgot to) (\w+ ){{1,4}}{_NO_IMAGE}"
    rf"|(could you )?please (provide|upload|share|attach|send)( me)?( with)? (\w+ ){{0,3}}{_NO_IMAGE}"
    r"|(this|your|the) (request|content|image|video|prompt) (violates|goes against|is against|may violate))",
    re.IGNORECASE,
)
_THOUGHTS = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|$)", re.DOTALL | re.IGNORECASE)
_UNOPENED_THOUGHTS = re.compile(r"^.*</(think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
"""Some chat templates open them in the question."""
_TOKENS = re.compile(r"<\|\w+\|>|</?s>|\[/?INST\]|<(start|end)_of_turn>")
"""That end and begin messages; some servers let them through."""
_FENCE = re.compile(r"```(\w+(?=[ \t]*\n))?")
_LINE_MARKS = re.compile(r"^[ \t]*((#{1,6}|[-*•+>]|\d{1,2}[.)])[ \t]+)+", re.MULTILINE)
_RULES = re.compile(r"^[ \t]*([-*_=])\1{2,}[ \t]*$", re.MULTILINE)
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.{1,2000}?)(?<=\S)\1", re.DOTALL)
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]*?[^\s*])\*(?![\w*])")
_ADJECTIVES = (
    r"((enhanced|detailed|dense|rewritten|improved|shortened|revised|final|english|video|concise|brief|short|overall|"
    r"chronological|clip|scene|frame|image|full|complete|corrected|updated|new) )*"
)
_KINDS = r"(caption|prompt|description|translation|answer|output|summary|response|paragraph)"
_LABEL_LINE = re.compile(rf"\s*[*_#]*{_ADJECTIVES}{_KINDS}[*_:]*[ \t]*\n+(?=\s*\S)", re.IGNORECASE)
"""A heading over the text."""
_LEAD_INS = (
    re.compile(r"(sure|certainly|of course|absolutely|okay|great|understood|got it)( thing)?[!,.:]+\s+", re.IGNORECASE),
    re.compile(r"(here|below|the following)(\Ws| is| are)\b[^:.]{0,80}:\s*", re.IGNORECASE),
    re.compile(
        rf"[*_#\s]*{_ADJECTIVES}{_KINDS}( (of|for) the (video|clip|scene|image|frame))?"
        r"( \(?(at most |under |in )?\d+ words( or less)?\)?)?[*_]*:[*_]*\s*",
        re.IGNORECASE,
    ),
    re.compile(r"([-*•>]|#{1,6})\s+(?=\S)"),
)
_TRAILERS = (
    re.compile(
        r"\s*([(\[] ?(word count:? ?\d+|(about |approximately |~)?\d+ words) ?[)\]]|word count:? ?\d+( words)?)\.?\s*$",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?<=[.!?])\s+(please )?(let me know (if|whether|how)|feel free to|i hope (this|that) helps|"
        r"would you like me to|do you want me to|note:|\(?note that this (caption|summary|description))"
        r"[^.!?]*[.!?)]*\s*$",
        re.IGNORECASE,
    ),
)
_MAX_ROUNDS = 20
"""Of taking things away; a text with more around it is none."""
_QUOTES = ('""', "“”", "''", "\u2018\u2019", "«»", "``", "**")


_MEDIUM = (
    r"((short|brief|given|provided|above|following|entire|whole|same|input|silent|static|stop-motion|animated) )*"
    r"(video clip|video sequence|video footage|video|clip|footage|film|sequence|scene|image|picture|photo|photograph|"
    r"frame|screenshot|still|animation|shot)"
)
_MOVING = (
    r"((short|brief|silent|animated|close-up|slow-motion|black-and-white|time-lapse) )*"
    r"(video clip|video footage|video|clip|footage)"
)
_ADVERB = r"((primarily|mainly|clearly|simply|then|first|initially|just) )?"
_TELLS = (
    r"(shows|depicts|features|captures|presents|displays|portrays|illustrates|showcases|describes|contains|"
    r"focuses on|(begins|opens|starts)( with| by (showing|depicting|featuring)))"
)
_PARTICIPLE = r"(showing|depicting|featuring|capturing|presenting|displaying|portraying)"
_SEES = r"(we|you|one|viewers|the viewer)( can)? (see|sees|observe|notice)"
_CONTENT = (
    r"(?!(of|in|on|at|to|for|from|by|with|up|off|out|over|into|through|as|and|or|but|than|then|if|"
    r"how|what|where|when|why|who|whom|which|while|whether|that|not|nothing|only|"
    r"me|us|you|it|him|her|them|itself|we|i|he|she|they|is|are|was|were|has|have|had|will|can|"
    r"very|too|so|more|less|better|well|best|here|there|again|together|signs)\b)(?=[\w\"'“\u2018])"
)
"""Begins something that is seen. What goes on otherwise would be no sentence without the lead-in."""

_HOW = r"how (?=(an?|the|this|two|three|several|some|his|her|its|their)\b)"
"""Followed by a whole sentence."""

_BEGINNINGS = (
    re.compile(rf"(the|this|our|these) {_MEDIUM} {_ADVERB}{_TELLS}( us)?:? (that |{_HOW})?{_CONTENT}", re.IGNORECASE),
    re.compile(rf"in (the|this) {_MEDIUM}, ({_SEES}:? (that )?)?{_CONTENT}", re.IGNORECASE),
    re.compile(rf"in (the|this) {_MOVING} (?=(an?|two|three|four|five|several|many|some|one)\b)", re.IGNORECASE),
    re.compile(rf"{_SEES}:? {_CONTENT}", re.IGNORECASE),
    re.compile(rf"((this|it) is |here is )an? {_MEDIUM} (of|{_PARTICIPLE}):? {_CONTENT}", re.IGNORECASE),
    re.compile(rf"(an? |the |this )?{_MOVING} (of|{_PARTICIPLE}):? {_CONTENT}", re.IGNORECASE),
)
_STILL_TELLS = re.compile(
    r"\b(and|then|before|but)( then| finally| later)? (shows|depicts|features|captures|presents|displays|portrays|ends|"
    r"begins|opens|starts|cuts|transitions|switches|zooms|pans|follows|continues|concludes|focuses|closes|moves on)\b",
    re.IGNORECASE,
)
"""What the video does next: it is still the subject of the sentence."""
_SHOWN_THERE = re.compile(
    r"\b(plays|(is|are) (playing|shown|projected|displayed|visible)|loops|appears) (on|in|across|behind)\b",
    re.IGNORECASE,
)
"""A video that is itself in the picture."""
_TELLING = re.compile(rf"\b{_TELLS}\b", re.IGNORECASE)

_OBJECTS = (
    r"(?![ -](games?|gaming|cameras?|players?|screens?|walls?|calls?|conferenc\w+|stores?|shops?|consoles?|cards?|"
    r"monitors?|displays?|projectors?|tapes?|arcades?|cassettes?|rentals?|editors?|editing|equipment|boards?|reels?|"
    r"lights?|crews?|sets?|art|artists?|installations?)\b)"
)
_BANNED = re.compile(
    r"\b("
    r"((the|this|that|each|an?|our) )?((short|brief|given|provided|entire|whole) )?"
    rf"videos?( clips?| footage)?\b{_OBJECTS}"
    r"|(the|this|that|each|short|entire) (movie )?clips?\b"
    r"|(in )?(the|this) footage\b"
    r"|(the|this|that|each|these|an?|first|second|third|next|last|final|previous|current|opening) "
    r"((given|provided|first|second|third|next|last|final|previous|current|opening|static|still) )?"
    r"(image|frame)s?\b(?! (of|around|hangs|stands|on)\b)"
    r"|(frame|image) (#|no\. ?)?\d+\b"
    r"|(the|this|these|short|frame) (short |frame |given |provided )?captions?\b"
    r"|(the|this) (sequence|series) of (frames|images|events)\b"
    r"|(the|this) (scene|shot|sequence|animation|picture|photo|film) "
    rf"({_ADVERB}(shows|depicts|features|captures|presents|displays|portrays|illustrates|showcases|describes)|"
    r"(begins|opens|starts) (with|by))\b"
    r"|in (this|the) (scene|shot|sequence|picture|photo),"
    r"|as (described|mentioned|stated|noted)( (above|earlier|before|here|in))?\b"
    r"|as (shown|depicted|seen) (above|earlier|before|here|in)\b"
    r"|(described|mentioned|shown|stated) (above|below|earlier)\b"
    r"|(it|there) (appears|seems) that the viewer\b|(the|a) viewers?\b"
    r"|(we|you|one) (can |could )?(see|observe|notice|witness)\b"
    r"|(the|this) (description|summary|transcript)\b"
    r"|based on (the|these|this) (given|provided|captions?|frames?|images?|descriptions?|inputs?)\b"
    r")",
    re.IGNORECASE,
)


def clean_caption(text: str) -> str:
    """Return what a language model said as one line: without thoughts, markup, lead-ins and quotes around it."""
    text = _UNOPENED_THOUGHTS.sub(" ", _THOUGHTS.sub(" ", text))
    text = _RULES.sub(" ", _FENCE.sub(" ", _TOKENS.sub(" ", text))).strip()
    text = _LINE_MARKS.sub("", text)
    while (match := _LABEL_LINE.match(text)) is not None:
        text = text[match.end() :]
    text = " ".join(_EMPHASIS.sub(r"\1", _STRONG.sub(r"\2", text)).split())
    for _ in range(_MAX_ROUNDS):
        previous = text
        for lead_in in _LEAD_INS:
            text = text[match.end() :] if (match := lead_in.match(text)) else text
        for trailer in _TRAILERS:
            text = trailer.sub("", text)
        for marks in _QUOTES:
            text = _without_marks(text, *marks)
        if text == previous:
            break
    return text


def _without_marks(text: str, first: str, last: str) -> str:
    inner = text[1:-1]
    if len(text) < 2 or not (text.startswith(first) and text.endswith(last)):
        return text
    is_doubled = inner.startswith(first) and inner.endswith(last)
    # Apostrophes within words are no marks; a caption that begins and ends with quoted words has marks inside.
    mark = f"[{re.escape(first + last)}]"
    has_marks = re.search(rf"(?<!\w){mark}|{mark}(?!\w)", inner) is not None
    return text if has_marks and not is_doubled else inner.strip()


def is_refusal(text: str) -> bool:
    """Return whether a model says that it will not or cannot answer, or that it was shown nothing."""
    return _REFUSAL.match(text.replace("**", "").lstrip(" \t\r\n*_\"'“#>-")) is not None


def whole_sentences(text: str) -> str:
    """Return a text without an unfinished last sentence, if there is another one."""
    ends = [match.end() for match in re.finditer(r"[.!?][\"'”]?(?=\s)", text)]
    return text[: ends[-1]] if ends else text


def without_lead_in(text: str) -> str:
    """Return a caption that starts with its content: "The video shows a dog running" becomes "A dog running".

    Where the rest might be no sentence, or mean something else, the text is left as it is.
    """
    for _ in range(_MAX_ROUNDS):
        previous = text
        for beginning in _BEGINNINGS:
            if (match := beginning.match(text)) is None:
                continue
            rest = text[match.end() :]
            first_sentence = re.split(r"(?<=[.!?;])\s", rest, maxsplit=1)[0]
            is_whole = match[0].lower().startswith("in ")
            is_subject = not is_whole and _STILL_TELLS.search(first_sentence)
            is_object = not (is_whole or _TELLING.search(match[0])) and _SHOWN_THERE.search(first_sentence)
            if is_subject or is_object or len(first_sentence.split()) < 2:
                continue
            text = rest[:1].upper() + rest[1:]
            break
        if text == previous:
            break
    return text


def banned_phrases(text: str) -> tuple[str, ...]:
    """Return the phrases that speak of the video, its frames or its viewers, in lower case, each once, in order.

    A video that can be seen, such as a video game or "the frame of a window", is none.
    """
    found = (" ".join(match[0].lower().split()).rstrip(",") for match in _BANNED.finditer(text))
    return tuple(dict.fromkeys(found))
