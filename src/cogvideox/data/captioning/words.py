"""Lists of English words that the figures of captions need and WordNet does not have."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def by_line(text: str) -> dict[str, str]:
    """Return what stands before and after the colon of each line; lines of one name are joined."""
    found: dict[str, str] = {}
    for line in text.strip().splitlines():
        name, _, rest = line.partition(":")
        found[name.strip()] = f"{found.get(name.strip(), '')} {rest.strip()}".strip()
    return found


_TAGGED = """
D: a an the this these those every no another such what its his her my our your their some any all both either
D: neither whose several many few much more most
O: that each he she it they we you i him them us me himself herself itself themselves who whom which there here
O: someone somebody something anyone anything everyone everybody everything nothing none others one's hers theirs
O: ours other
P: of in on at by for with from into onto over under above below behind beside besides between among through across
P: along around near toward towards against within without off up down out inside outside beneath underneath upon
P: past beyond during before after until till since about amid amidst amongst atop alongside despite except like
P: unlike per via throughout than
R: next not never then now again also too just only very quite rather almost already still soon once once's twice
R: together apart away back forth forward forwards backward backwards ahead however meanwhile finally first later
R: afterwards afterward eventually suddenly gradually initially even ever often always sometimes perhaps else well
C: as and or but nor so yet while when whenever where because if though although whereas
X: is are was were be been being am has have had having do does did can could will would shall should may might
X: must isn't aren't doesn't don't didn't can't won't wasn't weren't hasn't haven't it's he's she's they're that's
X: there's
T: to
"""
FUNCTION_TAGS: dict[str, str] = {word: tag for tag, words in by_line(_TAGGED).items() for word in words.split()}
"""D determiner, P preposition, C conjunction, O pronoun, X auxiliary, R adverb, T "to"."""

_COUNTED = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty dozen
"""
NUMBERS: dict[str, int] = {word: number for number, word in enumerate(_COUNTED.split())}
NUMBERS |= {"thirty": 30, "forty": 40, "fifty": 50, "hundred": 100, "thousand": 1000, "dozen": 12, "both": 2}
"""Words that count things; "single" and "a" say nothing that a plural noun would contradict."""

_COLOUR_FAMILIES = """
red: red crimson scarlet maroon burgundy ruby reddish
blue: blue navy azure cobalt sapphire indigo bluish
green: green emerald olive lime greenish
yellow: yellow lemon yellowish
gold orange yellow: golden gold amber
gold yellow: blond blonde
orange: orange orangish
purple: purple violet lavender lilac magenta
pink: pink rosy pinkish fuchsia
brown: brown tan chestnut brownish bronze
beige brown white: beige cream
black: black ebony blackish
white: white ivory whitish
grey: grey gray greyish grayish silver silvery
blue green teal: teal turquoise cyan aqua
"""
COLOURS: dict[str, frozenset[str]] = {
    word: _words(family) for family, words in by_line(_COLOUR_FAMILIES).items() for word in words.split()
}
"""Colour words and the families that each belongs to; two of one family do not contradict each other."""

OPPOSITES: tuple[tuple[str, str], ...] = (
    ("left leftward leftwards", "right rightward rightwards"),
    ("up upward upwards upstairs", "down downward downwards downstairs"),
    ("clockwise", "counterclockwise anticlockwise"),
    ("north northward", "south southward"),
    ("east eastward", "west westward"),
    ("indoors indoor", "outdoors outdoor"),
    ("forward forwards", "backward backwards"),
    ("day daytime daylight", "night nighttime"),
    ("morning dawn sunrise", "evening dusk sunset"),
    ("summer", "winter"),
    ("toward towards", "away"),
)
"""Words of which one contradicts the other, besides WordNet's opposites of adjectives."""

OPPOSITE_PROPERTIES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (_words("empty deserted"), _words("crowded packed")),
    (_words("cloudy overcast rainy"), _words("clear sunny cloudless")),
    (_words("calm still"), _words("rough choppy stormy")),
    (_words("bright sunlit brilliant"), _words("dark dim gloomy unlit")),
)
"""Adjectives that contradict each other if they are said of the same thing, besides WordNet's."""

_MATERIAL_FAMILIES = """
wood: wooden wood oak timber plywood bamboo
steel silver gold copper: metal metallic
steel: steel iron aluminium aluminum chrome tin
steel silver: silver
gold: gold
copper: copper bronze brass
glass: glass crystal
stone: stone marble granite concrete cement limestone sandstone slate
stone brick: cobblestone masonry
brick: brick
plastic: plastic rubber vinyl
paper: paper cardboard
leather: leather suede
cloth: cloth fabric cotton linen silk satin velvet denim wool woolen woollen knitted canvas lace
clay: clay ceramic porcelain earthenware terracotta
straw: straw wicker rattan
"""
MATERIALS: dict[str, frozenset[str]] = {
    word: _words(family) for family, words in by_line(_MATERIAL_FAMILIES).items() for word in words.split()
}
"""What things are made of, and the families that each belongs to; two of one family do not contradict each other."""

_PATTERN_FAMILIES = """
stripes: striped stripy pinstriped
spots: spotted dotted speckled spotty polka-dot polka-dotted
checks: checkered chequered checked plaid tartan
flowers: floral flowered flowery
none: plain unpatterned
stripes spots checks flowers: patterned
"""
PATTERNS: dict[str, frozenset[str]] = {
    word: _words(family) for family, words in by_line(_PATTERN_FAMILIES).items() for word in words.split()
}
"""Words for patterns and the families that each belongs to."""

POSITIONS: dict[str, frozenset[str]] = {
    word: _words(family)
    for family in ("front", "rear back hind", "upper", "lower", "left", "right")
    for word in family.split()
}
"""Which of several alike parts of a thing: "front wheel"."""

FRAMING = _words(
    """
    scene scenes background foreground camera shot view frame moment video clip footage setting atmosphere end
    start beginning middle side sides top bottom front back left right center centre part way time second
    seconds minute close-up closeup sequence perspective angle focus image picture viewpoint vantage backdrop
    surroundings surrounding area place spot position point distance direction edge corner rest kind type sort
    piece number lot variety series row line group set pan zoom tilt tracking cut transition wide close medium
    shift movement motion pace moments instant while whole course process action activity event sight look lens
    screen attention detail details mood ambience vibe feel sense ground air one ones other others thing things
    something step steps overall base pair presence appearance display state stage next midst visible clearly
    amount bit half majority all inside outside interior exterior inch meter metre turn space
    """
)
"""Nouns and other words about the picture and not of it; they are not looked up in the inputs."""

FRAMING_OR_THING = _words("camera stage screen lens pan")
"""Of these: what is a thing in the picture if it is not "the" one."""

LIGHT_VERBS = _words(
    """
    be have do begin start continue appear seem show remain go come make take use become get let keep reveal
    depict feature capture see look hold follow include contain consist give way set put end open finish proceed
    turn occur happen present display focus pan zoom tilt track shift move switch cut transition fade change
    bring leave reach face carry stay emerge fill stand visible can unfold lead watch try manage prepare
    """
)
"""Verbs that say little, and those of the camera."""

LIGHT_MODIFIERS = _words(
    """
    then now again also just only very still together slowly gradually finally first next later afterwards
    eventually suddenly quickly initially other same several many few some various different nearby visible
    entire whole full clear main own final last second third new soon once more most all both away back forth
    ahead so too well apart here there where when next-to close-up high low far near close directly steadily
    gently briefly shortly subsequently meanwhile simultaneously immediately previous previously earlier such
    each single early late short brief lone along around up down off out over through across past by in on
    forward
    """
)
"""Adjectives and adverbs that every summary may use."""

SOFT_DOMAINS = _words(
    """
    noun.attribute noun.cognition noun.feeling noun.motive noun.relation noun.state noun.shape noun.quantity noun.time
    noun.process noun.act noun.Tops noun.possession
    """
)
"""WordNet's domains of nouns that name no thing: other ones than those of the inputs invent nothing."""

MONEY = _words("coin banknote bill cash money wallet cheque check ticket")
"""Things, though WordNet has them as what somebody owns or owes."""

SOFT_NOUNS = _words(
    """
    conversation talk chat speech discussion applause cheer greeting laughter gesture expression performance
    celebration glance smile event gathering trip journey ride hello hi goodbye shape pattern design form hue
    tone shade color colour texture balance mess thanks art style fun result work task routine technique skill
    effort success pose posture stance embrace hug kiss wave nod bow gaze rhythm melody tune sound noise silence
    warmth light darkness shadow reflection contrast glow shine sparkle way destination surface interior
    exterior outdoors nature landscape scenery scenario sky room stretch break rest drink bite turn party
    opponent rival partner companion colleague teammate owner stranger newcomer adventure lesson practice
    training competition contest shot blow burst touch weather time-lapse timelapse winner leader champion loser
    performer participant competitor member colony flock herd pack swarm cluster bunch stack pile heap
    collection sample finding experiment duty crew squad troupe guest host
    symbol adjustment score production storage reward trail gear equipment remains remainder product goods item
    material content load cargo belongings care victory win defeat love joy delight help assistance company order
    guidance direction instruction signal repair finish arrival departure journey lap treat attempt search chase
    hunt fight duel ceremony service job project chore process
    """
)
"""Other nouns of this kind."""

BODY_PARTS = _words(
    """
    hand arm head face eye body foot leg finger hair shoulder knee mouth palm fist nose ear neck cheek chin lip toe
    thumb wrist elbow chest waist lap
    """
)
"""Whoever acts has them: no invented objects if the inputs have a person."""

POSSESSIVES = _words("his her its their my our your")
"""What stands before a noun, though some of them may stand alone too."""

ROLES = _words(
    """
    resident visitor passenger friend neighbor neighbour companion helper assistant apprentice colleague craftsman
    craftsperson tradesman tradesperson artisan handyman repairman technician employee staff worker attendant diner
    traveler traveller newcomer owner master villager local citizen inhabitant onlooker passerby bystander athlete
    sportsman sportswoman player professional expert specialist enthusiast amateur newlywed lover relative
    """
)
"""What somebody is to others, or in general: no invention if the inputs have a person."""

ANYBODY = _words("man woman person boy girl child kid adult lady guy figure teenager youth")
"""Who may be anybody of a trade."""

GENDERED = _words(
    "man woman boy girl lady gentleman guy he him his himself she her hers herself mother father son daughter husband "
    "wife bride groom king queen grandmother grandfather brother sister waiter waitress"
)
"""Words that say whether somebody is a man or a woman."""

_IDIOMS = """
on-board on-foot at-home next-door by-hand in-love at-work in-line in-place at-rest in-hand in-turn on-display on-duty
on-top in-flight on-fire in-motion in-bloom by-side in-time at-ease on-guard in-use
"""
IDIOMS = frozenset(tuple(pair.split("-")) for pair in _IDIOMS.split())
"""Prepositions and nouns that name no thing together."""

DANGLING = _words(
    """
    a an the and or but nor of with from into onto their its my our your as than because while every
    toward towards amid amidst atop upon despite per via although whereas unless whose very
    he she they we i
    """
)
"""No sentence ends with one of these, with or without a full stop."""

DANGLING_UNLESS_ASKED = _words(
    """
    at for to against among amongst between beside besides during until till like unlike beneath next
    no each his such if when where whenever whether which who whom
    is are was were be been being has have had will would shall should might must could quite rather almost
    """
)
"""No sentence ends with one of these unless it asks back: "the chair that he sits beside", "how tall it is"."""

TRANSITIVE = _words(
    """
    hold carry wear put bring take make give lay grab pick remove add lower raise contain use reveal
    depict feature place surround cover attach fasten insert throw toss wrap wipe slice chop squeeze create produce
    adjust examine inspect tie grip grasp clutch cradle handle arrange repair fix
    """
)
"""Verbs that say what is done to something."""

_IRREGULAR_FORMS = """
passerby=passersby axis=axes hypothesis=hypotheses crisis=crises wharf=wharves elf=elves sheaf=sheaves
be=is,are,was,were,been,being,am have=has,had,having do=does,did,done go=goes,went,gone say=said make=made
take=took,taken come=came see=saw,seen know=knew,known get=got,gotten give=gave,given find=found think=thought
tell=told become=became leave=left feel=felt bring=brought begin=began,begun keep=kept hold=held
write=wrote,written stand=stood hear=heard mean=meant meet=met run=ran pay=paid sit=sat speak=spoke,spoken
lie=lay,lain,lying lead=led grow=grew,grown lose=lost fall=fell,fallen send=sent build=built
understand=understood draw=drew,drawn break=broke,broken spend=spent rise=rose,risen drive=drove,driven
buy=bought wear=wore,worn choose=chose,chosen throw=threw,thrown catch=caught fight=fought teach=taught
eat=ate,eaten fly=flew,flown ride=rode,ridden sing=sang,sung swim=swam,swum shake=shook,shaken hide=hid,hidden
hang=hung sell=sold shoot=shot shine=shone slide=slid sleep=slept spin=spun swing=swung sweep=swept stick=stuck
strike=struck,stricken steal=stole,stolen tear=tore,torn wake=woke,woken win=won wind=wound bend=bent
bite=bit,bitten blow=blew,blown burn=burnt dig=dug drink=drank,drunk feed=fed forget=forgot,forgotten
freeze=froze,frozen kneel=knelt lay=laid leap=leapt light=lit ring=rang,rung seek=sought spring=sprang,sprung
weave=wove,woven weep=wept bind=bound creep=crept deal=dealt dive=dove flee=fled grind=ground sew=sewn sow=sown
sink=sank,sunk tie=tying cling=clung fling=flung sling=slung stride=strode tread=trod,trodden swell=swollen
lean=leant spill=spilt beat=beaten man=men woman=women child=children person=people,persons foot=feet
tooth=teeth goose=geese mouse=mice ox=oxen leaf=leaves wolf=wolves knife=knives loaf=loaves shelf=shelves
half=halves calf=calves thief=thieves wife=wives life=lives scarf=scarves hoof=hooves cactus=cacti
fireman=firemen fisherman=fishermen policeman=policemen businessman=businessmen snowman=snowmen
sportsman=sportsmen die=dice good=better,best bad=worse,worst far=farther bus=buses,busses gas=gases
potato=potatoes tomato=tomatoes hero=heroes
"""
IRREGULAR: dict[str, str] = {
    form: lemma for lemma, forms in (item.split("=") for item in _IRREGULAR_FORMS.split()) for form in forms.split(",")
}
"""Form -> lemma, where the rules of endings do not lead to it."""
