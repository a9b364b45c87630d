"""What language models say instead of the text that they were asked for, or between its sentences.

Captions quote: a sign may say "I can't breathe". So quotations, with marks or told as such, are not looked at.
"""

import re

NUM_FIRST_SENTENCES = 3
"""Of a long text, in which a refusal is looked for; of a short one in all."""
MAX_SHORT_WORDS = 60
MAX_SENTENCE_CHARACTERS = 600

_INPUT = r"(image|picture|photo|frame|video|clip|file|attachment|caption|input|note|content|information|detail)s?"
_CAN_NOT = (
    r"(can\W?t|can ?not|could ?n\W?t|could not|wo\W?n\W?t|will not|would ?n\W?t|would not|unable"
    r"|not (able|permitted|allowed|comfortable|authori[sz]ed|designed|trained|capable|qualified|equipped|going to)"
    r"|do(n\W?t| not)|did(n\W?t| not)|have(n\W?t| not| no\b))"
)
_BESIDES = (
    r"( (just|only|currently|really|truly|simply|therefore|respectfully|also|still|must|would|will|do|am|are|have|"
    r"had|was|should|might|may|afraid|that|rather|kindly|politely|honestly|unfortunately|to|very|so))*"
)
_SUPPLY = (
    r"(upload|provide|share|attach|send|resend|supply|paste|include|rephrase|specify|clarify|retry|"
    r"try (again|another)|contact|check (your|the))"
)
_SELF = rf"(?<!\w)i\b(\W?(m|d|ve|ll))?{_BESIDES} "
_SEEMS = r"(it (seems|looks like|appears)( that| like)?,? )?"
_SAID_BY_MODELS = re.compile(
    rf"{_SELF}({_CAN_NOT}|not\b|decline|refuse|regret|prefer not|apologi[sz]e|pass on|see no|lack|appreciate (your|the)"
    r"|sorry|understand (your|the|that you)|need (to see|to know|more|additional|the|an? )|require|an ai\b"
    r"|an? (\w+ )?(language|text|ai) model)"
    rf"|^(unfortunately|regrettably)?,? ?we( ?\W? ?re| are)?( just| only| currently)? {_CAN_NOT}\b"
    r"|\b(for|allow|require|prevent|prohibit|forbid|keep|stop)s? me (from|to)\b"
    r"|\b(my|our) (guideline|polic(y|ies)|programming|instructions|capabilit|training data|safety|rules? (do|prevent))"
    r"|\b(can|may|could) i (help|assist|do for)\b|\bi(\W?d| would) be (happy|glad) to\b"
    r"|\bas an? ((responsible|helpful|harmless|ethical) )?"
    r"(ai\b(?! \w+ (walk|run|roll|mov))|assistant,|(large )?language model|artificial intelligence|"
    r"(text|language)[- ](based|only))"
    r"|\b(outside|beyond) (of )?(what i|my|the scope of (my|what i))\b"
    r"|\bunable to (\w+ ){0,2}(see|view|access|describe|assist|help|process|provide|comply|summari[sz]e|caption)\b",
    re.IGNORECASE,
)
"""In the first person, anywhere in a sentence."""
_TO_THE_ASKER = re.compile(
    r"\byour (\w+ )?(message|request|prompt|question|instructions?|inputs?|images?|pictures?|photos?|videos?|frames?|"
    r"uploads?|attachments?|quota|account|api|billing|(current )?plan and|notes|understanding|patience)\b"
    r"|\byou( \W?ve| have|\W?ve|\W?d| would| did)?( just| not|n\W?t)? "
    r"(uploaded|attached|provided?|requested|exceeded|asked (me|for)|like me to|want me to)\b"
    rf"|\byou ((have|did) ?n(o|\W)?t|forgot to) (\w+ ){{1,4}}{_INPUT}"
    rf"|\b(please|kindly|(could|can|would) you( please)?|feel free to|if you( can| could)?) {_SUPPLY}\b"
    r"|\blet me know (what|if|how|whether|when|which)\b|\bplease (re)?try\b|\btry again (later|shortly|soon|in an? )"
    r"|^thank(s| you) for (sharing|the|providing|uploading|asking)\b",
    re.IGNORECASE,
)
_THING = r"(request|prompt|response|output|content|description|captions?|completion|query|generation)"
_BARRED = (
    r"(declined|rejected|blocked|flagged|filtered|withheld|redacted|refused|denied|unavailable|not available"
    r"|not possible|impossible|violates?|may violate|goes against|is against|not supported|not permitted|not allowed"
    r"|timed out|removed (by|due|for)|((can ?not|can\W?t|could not|couldn\W?t) be) "
    r"(completed|processed|described|generated|decoded|loaded|fulfilled|shown|displayed|read|opened|analy[sz]ed))"
)
_IMPERSONAL = re.compile(
    rf"^\W*(\w+ ){{0,2}}{_THING}\b[^.]{{0,80}}\b{_BARRED}\b"
    r"|^\W*(this|your|the) (image|video|picture|photo|clip|frame) (violates|goes against|is against|may violate|"
    r"(can ?not|can\W?t|could not|couldn\W?t) be \w+ed\b|contains (\w+ )?(content|material)\b)"
    r"|^\W*(the|this|your) (\w+ )?(image|video|picture|photo|clip|frame)s? (is|are|appears?|seems?)( to be)? (\w+ )?"
    r"(blank|empty|missing|corrupt(ed)?|broken|unavailable|unreadable|not visible)( or \w+)?\W*$"
    rf"|^(due to|because of|in line with|according to|per|under|following) [^.]{{0,60}}\b(polic(y|ies)|guidelines?|"
    rf"privacy|safety|restrictions)\b[^.]{{0,80}}\b({_BARRED}|(can ?not|can\W?t|not) be|(can ?not|can\W?t))\b"
    r"|\b(content|moderation|safety|usage|acceptable use) (policy|policies|filters?|guidelines|system)\b[^.]{0,60}\b"
    rf"({_BARRED}|triggered)\b|\b{_BARRED} (by|due to|under|because of|for) [^.]{{0,40}}"
    r"(content|moderation|safety|usage|use|privacy) (policy|policies|filters?|guidelines|system)\b"
    r"|\b(violates?|violation of|against|goes against) [^.]{0,30}(content|usage|use|safety|community) (policy|policies|"
    r"guidelines|rules|standards)\b|^\W*redacted\b|\bmoderation filter|\[[^\]]{0,60}\b(redacted|removed|"
    r"blocked|filtered|censored|withheld)\b"
    rf"|^{_SEEMS}(there\W?s|there (is|are|was|were)|you (have|did))(n\W?t| not| no) (\w+ ){{0,4}}{_INPUT}"
    r"( (was|were|is|are))? (provided|attached|uploaded|included|shared|given|to describe|between the|"
    r"in your|in the (image|picture|"
    rf"photo|frame|video|clip|message))|^{_SEEMS}no (\w+ ){{0,2}}{_INPUT} (was|were|is|are|has been|have been) "
    r"(provided|attached|uploaded|included|shared|given|visible|available|found)"
    r"|^no (\w+ )?(description|caption|answer|response|output) (is|was|can|could|available|possible|provided)\b"
    r"|\b(the|this) ((ai|language|vision|image|\w+-language) )?(model|assistant|server|service|api|backend) "
    r"(is|was|can|could|does|did|has|had|cannot|failed)\b( ?not|n\W?t| been| currently| temporarily| to|"
    r" unable| failed)*"
    r" (process|describe|generate|load|decode|complete|respond|support|caption|interpret|overloaded|unavailable|"
    r"busy|down|loading|found)\b",
    re.IGNORECASE,
)
_ERROR = re.compile(
    r"^\W*((http\S*|status|error|unfortunately|sadly|looks like|we\W?re sorry|the|no),? )*(\d{3}\b)?\W*("
    r"error( code)?( \d+)?( ?[:(]| [\u2013\u2014-]|$)|error (while|when|during|processing|loading|decoding|reading)\b"
    r"|(an?|some) (\w+ ){0,2}error (has )?occurred|something went wrong|oops\b"
    r"|(image|picture|photo|video) (came through|failed to|did not (load|upload|arrive))|context length exceeded"
    rf"|(model|{_INPUT}) ((was|were|is|are|could|has|have|can) ?)?(not|n\W?t|can ?not)( been| be)? (found|"
    rf"available|loaded|decoded|"
    r"supported|accessible|provided|visible|received|recogni[sz]ed|opened|displayed|retrieved|processed)"
    r"|(failed|unable|not able) to (load|decode|process|fetch|open|read|generate|parse|download|connect|retrieve)\b"
    r"|internal (server )?error|bad (gateway|request)\b|(service|server|model) (is )?(\w+ )?(unavailable|"
    r"overloaded|busy|"
    r"error)|service temporarily|gateway time-?out|too many requests|request (timed? ?-?out|failed|too large|aborted)"
    r"|(unauthori[sz]ed|forbidden|not found|time-?out|timed out|overloaded|null|undefined|access denied|"
    r"permission denied)"
    r"(?=\W*$|[.:!])|(rate|token|usage|request|quota|context)( length)? limit\b|quota (has been )?exceeded"
    r"|(invalid|missing|incorrect) (api|request|image|input|url|key|model|token|parameter|authentication)"
    r"|(cuda )?out of memory|cuda error|(connection|network|authentication|api|runtime|value|key|type|proxy|ssl) ?"
    r"(error|refused|reset|timed out|aborted|closed|failed)|maximum context|traceback \()"
    r"|\b(exceed(s|ed)?|reached) (your|its|the|our|my) (\w+ ){0,3}(quota|rate limit|token limit|"
    r"context length|credits)\b"
    r"|\binsufficient (quota|credits|balance)\b",
    re.IGNORECASE,
)
_APOLOGY = re.compile(
    r"^\W*(i(\W?m| am) (very |really |truly |so )?sorry\b|sorry,|sorry (but|i)\b|my apologies\b|i apologi[sz]e\b"
    r"|apologies(,| but| i| for)|i(\W?m| am) afraid\b)",
    re.IGNORECASE,
)

_CARRIERS = (
    r"(sign|banner|poster|shirt|t-shirt|board|screen|note|card|label|page|book|placard|graffiti|text|letters?|words|"
    r"mural|sticker|badge|display|monitor|headline|billboard|tattoo|cap|mug|plaque|subtitle|bubble|message|lettering|"
    r"writing|slogan|title|window|wall|paper|neon)s?"
)
_SAYS = (
    r"(reads?|reading|says?|saying|spells?|spelling|sings?|singing|shouts?|shouting|chants?|chanting|whispers?|writes?|"
    r"pleads?|begs?|warns?|announces?|announcing|declares?|declaring|proclaims?|states?|shows?|displays?|"
    r"displaying|asks?|asking)"
)
_TOLD_BEFORE = re.compile(rf"\b({_CARRIERS}( ({_SAYS}|with))?|{_SAYS}) ?[:,]? (that )?(?=\S)", re.IGNORECASE)
_TOLD_AFTER = re.compile(
    r",? \b((reads?|says?|spells?|declares?|proclaims?|announces?|states?|asks?|shouts?|sings?) "
    rf"(a|an|the|one|his|her|their|its)\b|((is|are) )?(written|printed|painted|sprayed|stitched|embroidered|lettered|"
    rf"tattooed|scrawled) (on|in|across|over|above|below)\b|(on|across) (a|an|the|his|her|their|"
    rf"one) (\w+ )?{_CARRIERS}\b)",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    r'"[^"]{0,400}"|\u201c[^\u201d]{0,400}\u201d|\u00ab[^\u00bb]{0,400}\u00bb'
    r"|(?<!\w)['\u2018](?:[^'\u2018\u2019]|(?<=\w)['\u2019](?=\w)){1,200}['\u2019](?!\w)"
)
_SENTENCE_GAP = re.compile(r"(?<=[.!?])[\"'\u201d]?\s+|\n")

_MARKS = re.compile(
    r"<{2,}|>{2,}|</?\|?[A-Za-z_][\w-]{0,40}\|?/?>|[{}]|\[\s?\d+([.:]\d+)*\s?(s|sec|secs|seconds?)?\s?\]"
    r"|(^|[.!?]\s)\(?\d+([.:]\d+)* ?(s|sec|secs|seconds?)\s?[:)]\s|\b(SYSTEM|USER|ASSISTANT|HUMAN)\s?:|(^|"
    r"[.!?]\s)(system|user|assistant|human|System|User|Assistant|Human)\s?:"
)
_TALK = re.compile(
    r"(?:^|[^\w\s]\s*|\b[a-z]+\s)(?P<said>I)(?:['\u2019](?:m|ve|ll|d)\b| (?:am|can|could|see|will|would|"
    r"have|had|need|should|must|"
    r"think|notice|observe|believe|hope|kept|wrote|made|describe|note|do|did|was|want|know|assume|cannot|"
    r"might|may|feel|"
    r"also|combined|merged|summari[sz]ed|focused|tried|avoided|included|used|followed|removed|understand)\b)"
    r"|\b[Tt]he user(?:['\u2019]s (?:request|prompt|notes?|instructions?)| (?:wants|asks|asked|is asking|requests?|"
    r"requested|provided|has provided|needs|gave|said)\b)"
    r"|\b[Ll]et(?:['\u2019]s| me| us) (?:see|look|think|write|describe|start|craft|produce|begin|combine|count|draft|"
    r"summari[sz]e|try)\b|\b[Ww]e (?:need|have|are asked|are told) to (?:write|describe|produce|give|make|"
    r"create|output|"
    r"summari[sz]e|combine|keep)\b"
    r"|\b[Tt]he (?:notes|instructions|prompt) (?:say|says|mention|mentions|ask|asks|state|states|order|orders)\b"
    r"|\b[Ii]gnore (?:all|any|the|previous|these|those|every|my|your)\b[^.]{0,30}\b(?:notes|instructions?|"
    r"prompts?|rules|"
    r"captions?)\b"
)


def is_refusal(text: str) -> bool:
    """Return whether a model says that it will not or cannot answer, was shown nothing, or met an error.

    Of a text of up to `MAX_SHORT_WORDS` words every sentence counts, of a longer one the first few.
    """
    text = text.replace("**", "").lstrip(" \t\r\n*_\"'\u201c#>-")
    unquoted = without_quotations(text)
    text = unquoted if len(unquoted.split()) >= 2 else text
    sentences = [sentence[:MAX_SENTENCE_CHARACTERS] for sentence in _SENTENCE_GAP.split(text)]
    if len(text.split()) > MAX_SHORT_WORDS:
        sentences = sentences[:NUM_FIRST_SENTENCES]
    if sentences and (_APOLOGY.match(sentences[0]) or _ERROR.search(sentences[0])):
        return _TOLD_AFTER.search(sentences[0]) is None
    return any(
        _is_untold(pattern, one) for one in sentences for pattern in (_SAID_BY_MODELS, _TO_THE_ASKER, _IMPERSONAL)
    )


def has_talk(text: str) -> bool:
    """Return whether a caption has more in it than a caption: marks of a conversation, or a model that speaks of itself
    or of its task.
    """
    text = without_quotations(text)
    if _MARKS.search(text):
        return True
    return any(_is_untold(_TALK, one[:MAX_SENTENCE_CHARACTERS]) for one in _SENTENCE_GAP.split(text))


def without_quotations(text: str) -> str:
    """Return a text with what stands in quotation marks left out."""
    return _QUOTED.sub(" ", text)


def _is_untold(pattern: re.Pattern[str], sentence: str) -> bool:
    """Return whether a sentence has a pattern, and not as the words of a sign or of somebody in the picture."""
    match = pattern.search(sentence)
    if match is None or _TOLD_AFTER.search(sentence, match.start()):
        return False
    start = match.start("said") if match.groupdict().get("said") else match.start()
    return not any(told.end() >= start for told in _TOLD_BEFORE.finditer(sentence, 0, start + 2))
