"""Captions that speak of the video, its frames or its viewers instead of what is to be seen."""

import re
from collections.abc import Sequence

_MAX_ROUNDS = 20
"""Of taking lead-ins away; a text with more of them is none."""

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
_SEES = r"(we|you|one|i|viewers|the viewer)( can)? (see|sees|observe|notice)"
_CONTENT = (
    r"(?!(of|in|on|at|to|for|from|by|with|up|off|out|over|into|through|as|and|or|but|than|then|if|"
    r"how|what|where|when|why|who|whom|which|while|whether|that|not|nothing|only|"
    r"me|us|you|it|him|her|them|itself|we|i|he|she|they|is|are|was|were|has|have|had|will|can|"
    r"very|too|so|more|less|better|well|best|here|there|again|together|signs)\b)(?=[\w\"'“\u2018])"
)
"""Begins something that is seen. What goes on otherwise would be no sentence without the lead-in."""

_HOW = r"how (?=(an?|the|this|two|three|several|some|his|her|its|their)\b)"
"""Followed by a whole sentence."""

_NOTES = r"(notes?|captions?|frames?|pictures?|images?|descriptions?|inputs?)"
_BEGINNINGS = (
    re.compile(rf"(the|this|our|these) {_MEDIUM} {_ADVERB}{_TELLS}( us)?:? (that |{_HOW})?{_CONTENT}", re.IGNORECASE),
    re.compile(rf"in (the|this) {_MEDIUM}, ({_SEES}:? (that )?)?{_CONTENT}", re.IGNORECASE),
    re.compile(rf"in (the|this) {_MOVING} (?=(an?|two|three|four|five|several|many|some|one)\b)", re.IGNORECASE),
    re.compile(rf"{_SEES}:? {_CONTENT}", re.IGNORECASE),
    re.compile(rf"based on (the|these|this|your) (\w+ )?{_NOTES}, (?=\S)", re.IGNORECASE),
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
    r"|(?!an? frames?\b)(the|this|that|each|these|an?|first|second|third|next|last|final|previous|current|opening) "
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
    r"|(it|there) (appears|seems) that the viewer\b|(the|a) viewers?\b(?! (beside|next|behind|near|who|with|wearing|"
    r"standing|seated|sits?|stands?|holds?|leans?|smiles?|points?)\b)"
    r"|(we|you|one) (can |could )?(see|observe|notice|witness)\b"
    r"|(the|this) (description|summary|transcript)\b"
    r"|based on (the|these|this) (given|provided|captions?|frames?|images?|descriptions?|inputs?)\b"
    r")",
    re.IGNORECASE,
)

NUM_LOOKED_AT = 60
"""Characters before and after a phrase that tell what it means."""


def _forms(verbs: str) -> str:
    """Return a pattern of verbs in all their regular forms; some that there are not do no harm."""
    stems = []
    for verb in verbs.split():
        if verb.endswith("e"):
            stems.append(rf"{verb[:-1]}(e|es|ed|ing)")
        elif verb.endswith("y"):
            stems.append(rf"{verb[:-1]}(y|ys|ies|ied|yed|ying)")
        else:
            stems.append(rf"{verb}({verb[-1]}?(ed|ing)|s|es)?")
    return "|".join(stems)


_HANDLING = _forms(
    "record film shoot make take edit upload watch view play replay pause rewind slide fasten weld bend "
    "attach lift hold "
    "carry hang mount paint polish sand saw glue nail screw bolt fix repair assemble build craft weave "
    "string straighten "
    "twist push pull raise lower grip grab grasp pick put place set lay insert remove unclip snap tighten "
    "loosen adjust "
    "clean wipe dust brush wash oil sell buy hand pass give drop throw toss catch tap touch press turn rotate inspect "
    "examine study photograph draw sketch read write sign pin stick tape cover unwrap wrap tie hook "
    "unhook carve engrave solder "
    "hammer drill measure trim decorate varnish install unscrew detach fold stretch show project share send print hug "
    "wear"
)
_PAST = (
    "bent|held|hung|built|made|took|taken|shot|stuck|wove|woven|wrote|written|drew|drawn|bought|sold|"
    "caught|threw|thrown|"
    "gave|given|laid|saw|wound|winds?|winding|welded|shown|sent|tied|wore|tying"
)
_HANDLED_BEFORE = re.compile(
    rf"\b({_HANDLING}|{_PAST})( (up|down|out|off|on|over|back|at|through|together|him|her|them|\w+ly))?,? $",
    re.IGNORECASE,
)
"""A verb whose object is a thing."""
_PLAYED_AFTER = re.compile(
    r" ((clip|footage) )?(playing |shown |projected )?(on|with|from) (an?|the|his|her|their|its|one) (\w+ "
    r")?(phone|laptop|"
    r"tablet|screen|television|tv|monitor|projector|computer|wall|smartphone|camera|rope|board|desk|table|shelf)\b",
    re.IGNORECASE,
)
_MOVING_VERBS = _forms(
    "walk run come go step move drive ride swim fly roll jump appear disappear emerge vanish rush drift pan"
)
_OF_MEDIUM_BEFORE = re.compile(
    rf"\b(({_forms('enter leave exit fill cross re-enter reenter dominate occupy')}|left)( \w+ly)?"
    rf"|({_MOVING_VERBS}|ran|came|went|drove|rode|swam|flew)( \w+ly)?"
    r" (in|into|onto|out of|across|through|off|from|within|at|along)"
    r"|throughout|(visible|seen|shown|present|depicted) in|end of|start of|beginning of|side of|part of|"
    r"centre of|center of|edge of|corner of|background of|"
    r"foreground of|bottom of|top of|middle of|left of|right of) (\w+ (half|side|edge) of )?$",
    re.IGNORECASE,
)
_PLACE_BEFORE = re.compile(
    r"\b(in|of|to|within|throughout|across|from|at|for|by|about) (the|this|an?|each|every|first|second|last) "
    r"(\w+ )?$|(^|[.!?] )(the|this|an?) $",
    re.IGNORECASE,
)
"""Where inputs speak of the medium themselves, or may."""
_TELLING_AFTER = re.compile(
    rf" {_ADVERB}({_TELLS}|ends?|begins?|starts?|opens?|closes|concludes|continues|fades|cuts|transitions|"
    rf"pans|zooms)\b",
    re.IGNORECASE,
)
_NOUN = re.compile(
    r"^(?:(?:the|this|that|each|these|an?|our|first|second|third|next|last|final|previous|current|opening|short|entire|"
    r"brief|whole|still|static|movie|frame) )*(video|clip|footage|image|frame|caption|description|summary|"
    r"transcript)s?\b",
    re.IGNORECASE,
)
"""Of phrases that may name a thing."""
_COMPANY = {
    "frame": re.compile(
        r"\b(bicycles?|bikes?|cyclists?|beehives?|hives?|honey\w*|bees?|beekeepers?|windows?|doors?|"
        r"doorways?|pictures?|"
        r"photos?|photographs?|paintings?|portraits?|mirrors?|canvas\w*|beds?|looms?|weld\w*|carpenters?|"
        r"wood\w*|timber|"
        r"glasses|spectacles|embroidery|hoop|steel|alumini?um|metal|tents?|kites?|drums?|puzzles?|climbing|"
        r"greenhouse)\b",
        re.IGNORECASE,
    ),
    "clip": re.compile(
        r"\b(hair\w*|ropes?|carabiners?|paper\w*|documents?|belts?|ties?|microphones?|harness\w*|climb\w*|"
        r"badges?|braids?|"
        r"jackets?|straps?|clothes\w*|laundry|jewel\w*|cables?|magazines?)\b",
        re.IGNORECASE,
    ),
}
"""Words beside which a frame or a clip is likely to be a thing."""


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
            is_whole = match[0].lower().startswith(("in ", "based "))
            is_subject = not is_whole and _STILL_TELLS.search(first_sentence)
            is_object = not (is_whole or _TELLING.search(match[0])) and _SHOWN_THERE.search(first_sentence)
            if is_subject or is_object or len(first_sentence.split()) < 2:
                continue
            text = rest[:1].upper() + rest[1:]
            break
        if text == previous:
            break
    return text


def banned_phrases(text: str, inputs: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the phrases that speak of the video, its frames or its viewers, in lower case, each once, in order.

    A video that can be seen is none: a video game, "the frame of a window", a clip that somebody fastens, what an
    input has as a thing too. Where it cannot be told whether a frame or a clip is meant as a thing, it is none.

    Args:
        text: a caption.
        inputs: captions that it was made of.
    """
    things: dict[str, bool] = {}
    found = []
    for match in _BANNED.finditer(text):
        noun = _NOUN.search(match[0])
        if noun is not None and (name := noun[1].lower()) not in things:
            things[name] = _is_thing_there(name, text, " \n".join(inputs))
        if noun is None or not _is_thing(match, things[noun[1].lower()]):
            found.append(" ".join(match[0].lower().split()).rstrip(","))
    return tuple(dict.fromkeys(found))


def _is_thing(match: re.Match[str], is_likely: bool) -> bool:
    """Return whether a phrase of a text names something that is seen; else it is what its surroundings make likely."""
    text = match.string
    before, after = text[max(match.start() - NUM_LOOKED_AT, 0) : match.start()], text[match.end() :][:NUM_LOOKED_AT]
    if _TELLING_AFTER.match(after) or _OF_MEDIUM_BEFORE.search(before):
        return False
    return is_likely or _HANDLED_BEFORE.search(before) is not None or _PLAYED_AFTER.match(after) is not None


def _is_thing_there(name: str, text: str, inputs: str) -> bool:
    """Return whether a video, a frame ... is likely to be a thing in a text that was made of other ones."""
    near = _COMPANY.get(name)
    if near is not None and near.search(f"{text} {inputs}"):
        return True
    return any(
        not _TELLING_AFTER.match(inputs[one.end() :][:NUM_LOOKED_AT])
        and not _PLACE_BEFORE.search(inputs[max(one.start() - NUM_LOOKED_AT, 0) : one.start()])
        for one in re.finditer(rf"\b{name}s?\b", inputs, re.IGNORECASE)
    )
